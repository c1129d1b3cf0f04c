"""Millrace: the engine. A pipeline needs only what this module exports.

What does not belong here: Prefect, connections, anything that runs.
"""

from millrace.declared import History, Incremental, Merge, Reconcile, Snapshot
from millrace.model import Model
from millrace.pipeline import Pipeline, Stream
from millrace.types import decimal, text

__all__ = [
    "History",
    "Incremental",
    "Merge",
    "Model",
    "Pipeline",
    "Reconcile",
    "Snapshot",
    "Stream",
    "decimal",
    "text",
]
