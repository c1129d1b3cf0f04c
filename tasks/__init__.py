"""Tasks: the units of work that Prefect sees, thin functions with names and retries.

What does not belong here: their order (flows/), and how the work is done (the engine).
"""
