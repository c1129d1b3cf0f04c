"""The units of work Prefect sees: thin tasks with retries and names. What does not belong here: order, and how."""
