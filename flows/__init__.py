"""Flows: which steps run when and in what order, as thin Prefect flows.

What does not belong here: what a step does (tasks/ and the engine).
"""
