"""Whether servers, rights and stores are as a run needs them: checks that name what is wrong and what fixes it.

What does not belong here: Prefect, and which places an environment has (blocks/checks.py).
"""
