"""Millrace: the engine. A pipeline needs only what this module exports.

What does not belong here: Prefect, connections, anything that runs.
"""

from millrace.declared import Bind, Dated, Incremental, Queue, Reconcile, Snapshot
from millrace.load_modes import Append, History, Merge, Replace, Scd2
from millrace.model import Model
from millrace.pipeline import Pipeline
from millrace.stream import Stream
from millrace.types import decimal, text

__all__ = [
    "Append",
    "Bind",
    "Dated",
    "History",
    "Incremental",
    "Merge",
    "Model",
    "Pipeline",
    "Queue",
    "Reconcile",
    "Replace",
    "Scd2",
    "Snapshot",
    "Stream",
    "decimal",
    "text",
]
