"""The pipelines that ship with Millrace, one package each.

A package has a value ``pipeline``, its contracts, models and schemas.

What does not belong here: how a pipeline runs.
"""
