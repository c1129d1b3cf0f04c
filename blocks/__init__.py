"""Connections to servers as Prefect blocks, and their bootstrap from the environment.

What does not belong here: what is done with them.
"""
