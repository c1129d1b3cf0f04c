"""Demonstrations of the four sample pipelines on the local stack, each with a check of its result.

What does not belong here: the pipelines (pipelines/) and the simulations of their sources (seed_data/).
"""
