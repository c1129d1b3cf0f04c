"""Runs the shop every twenty minutes, from this process: `python serve.py`."""

from shop.pipelines import pipeline

from millrace.flows.replicate import replicate

if __name__ == "__main__":
    replicate.serve(name="shop", cron=pipeline.schedule, limit=1, parameters={"request": {"pipeline": pipeline}})
