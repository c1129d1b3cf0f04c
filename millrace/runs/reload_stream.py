"""Reload of a stream: read everything as if it had never been loaded, into a new table that replaces its target."""

from __future__ import annotations

from dataclasses import replace

from millrace.base.errors import ConfigurationError
from millrace.declaration.consent import Consent
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch, BatchKind
from millrace.runs.context import StreamContext
from millrace.runs.reads import read_window
from millrace.sources.chunk import Window
from millrace.warehouse.stream_state import NEVER_LOADED


async def check_reload(context: StreamContext, consent: Consent) -> None:
    """Raise ConfigurationError when a stream cannot be loaded again from its source without a loss.

    A person may accept that rows are lost which only the target has.
    """
    stream, place = context.stream, f"stream {context.pipeline.name}.{context.stream.name}"
    command = f"millrace run {context.pipeline.cli_name} --stream {stream.name}"
    if not stream.capture.keeps_rows:
        raise ConfigurationError(
            "a queue gives each message once, so it cannot be read from its beginning",
            place=place,
            remedy=f"read messages that are in the lake again with `{command} --from`",
        )
    lost = find_rows_of_target_alone(stream)
    if lost and not consent.allow_deletes and (await context.find_state()).columns:
        raise ConfigurationError(
            f"a reload loses what only the target has: {lost}",
            place=place,
            remedy="if that is what you want, reload with --allow-deletes (run parameter allow_deletes)",
        )


def find_rows_of_target_alone(stream: Stream) -> str:
    """Return which rows the target of a stream may have that the source does not give again; '' for none."""
    if stream.load.keeps_versions:
        return "former versions of rows"
    if stream.load.deletes(stream.deletes) == "soft":
        return "rows that are marked as deleted"
    if stream.load.deletes(stream.deletes) == "ignore":
        return "rows that were deleted in the source"
    return ""


async def without_target(context: StreamContext) -> StreamContext:
    """Return the context as if its stream had never been loaded: the columns of its target decide nothing."""
    former = await context.find_state()
    # The tables of children stay: their rows are replaced.
    state = replace(NEVER_LOADED, newest_batch=former.newest_batch, child_columns=former.child_columns)
    return replace(context, _state=state)


async def read_new_target(context: StreamContext, kind: BatchKind) -> Batch:
    """Read everything into a batch that makes a new target.

    The types of the old target do not matter. Raises ConfigurationError when the source has no row and nobody knows its
    columns.
    """
    await context.refresh_state()
    batch = await read_window(await without_target(context), Window(), kind, replaces_target=True)
    if batch is None:
        raise ConfigurationError(
            "the source is empty, and its fields are not known, so no table can be made",
            place=f"stream {context.pipeline.name}.{context.stream.name}",
            remedy="declare a contract with its fields, or sweep the stream, which finds the deletes",
        )
    return batch
