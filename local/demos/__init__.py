"""Demonstrations of the four pipelines on the local stack, each with its own check of the result."""
