"""Millrace: the engine. A pipeline needs only what this module exports.

What does not belong here: Prefect, connections, anything that runs.
"""

from millrace.pipeline import Incremental, Merge, Pipeline, Reconcile, Stream
from millrace.types import decimal, text

__all__ = ["Incremental", "Merge", "Pipeline", "Reconcile", "Stream", "decimal", "text"]
