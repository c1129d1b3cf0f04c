"""Millrace: what a user imports to declare a pipeline.

What does not belong here: Prefect, connections, anything that runs.
"""

from millrace.base.types import DOCUMENT, decimal, text
from millrace.declaration.captures import Bind, ChangeLog, Dated, Incremental, Queue, Reconcile, Snapshot
from millrace.declaration.children import Child
from millrace.declaration.load_modes import Append, History, Merge, Replace
from millrace.declaration.masks import Hash, Partial, Redact
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.scd2 import Scd2
from millrace.declaration.stream import Stream
from millrace.declaration.streams import Streams

__all__ = [
    "DOCUMENT",
    "Append",
    "Bind",
    "ChangeLog",
    "Child",
    "Dated",
    "Hash",
    "History",
    "Incremental",
    "Merge",
    "Model",
    "Partial",
    "Pipeline",
    "Queue",
    "Reconcile",
    "Redact",
    "Replace",
    "Scd2",
    "Snapshot",
    "Stream",
    "Streams",
    "decimal",
    "text",
]
