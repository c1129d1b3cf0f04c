"""Whether a run would delete more rows than it may, as far as a plan can tell."""

from __future__ import annotations

import asyncio

from millrace.declaration.captures import follows_deletes
from millrace.runs.choose import ReadPlan
from millrace.runs.context import StreamContext
from millrace.runs.sample import Sample
from millrace.warehouse.apply import SMALL_ROWS

COMPARES_ALL = {"sweep", "snapshot"}
"""Kinds of batches that show every row which the source does not have any more."""


async def foresee_deletes(context: StreamContext, read_plan: ReadPlan, sample: Sample | None) -> str:
    """Return that a run would be refused because of its deletes, and the flag to go on; '' if none is foreseen.

    Only a sample of all rows tells it: the rows of a larger source are not counted for a plan.
    """
    stream = context.stream
    if sample is None or not sample.is_whole or context.consent.allow_deletes:
        return ""
    if not (read_plan.kind in COMPARES_ALL or read_plan.replaces_target):
        return ""
    if not follows_deletes(stream.load.deletes(stream.deletes)):
        return ""
    present = await asyncio.to_thread(context.warehouse.count_live_rows, context.pipeline, stream)
    lost = present - sample.rows
    if present <= SMALL_ROWS or lost <= stream.max_delete_share * present:
        return ""
    return (
        f"the run would be refused: the source has {sample.rows:,} rows, the target {present:,}, and a run may delete "
        f"{stream.max_delete_share:.0%} (max_delete_share). See whether the source is whole; if the deletes are right, "
        "run with --allow-deletes"
    )
