"""A flow of one's own around `replicate`."""

import asyncio

from prefect import flow

from millrace.flows.replicate import replicate
from shop.pipelines import pipeline


@flow
async def nightly() -> int:
    """Replicate, then do what comes after it; return how many rows were loaded."""
    report = await replicate(pipeline)
    return sum(stream.loaded for stream in report.streams)


if __name__ == "__main__":
    print(asyncio.run(nightly()), "rows loaded")
