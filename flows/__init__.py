"""When and in what order: thin Prefect flows. What does not belong here: what a step does."""
