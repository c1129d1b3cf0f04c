"""Batches with other values than those that were read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from millrace.lake.batch import Batch

GROUPS = ("files", "counts", "coverage", "progress")


def change_batch(batch: Batch, **values: Any) -> Batch:
    """Return the batch with other values of its fields, or of the fields of its files, counts, coverage, progress."""
    for group in GROUPS:
        own = {name: values.pop(name) for name in vars(getattr(batch, group)) if name in values}
        batch = replace(batch, **{group: replace(getattr(batch, group), **own)})
    return replace(batch, **values)
