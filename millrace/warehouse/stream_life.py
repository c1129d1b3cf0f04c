"""The life of a stream in the warehouse: pause and resume it, and set its position."""

from __future__ import annotations

from datetime import UTC, datetime

from millrace.base.errors import ConfigurationError
from millrace.base.types import Kind
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.sources.cursor_columns import INTEGERS, position_of_number
from millrace.warehouse.ledger import pauses, reset
from millrace.warehouse.ledger.pauses import Pause
from millrace.warehouse.session import retry_on_conflict
from millrace.warehouse.warehouse import Warehouse

NUMBERS = INTEGERS | {Kind.DECIMAL}
"""Kinds of columns with whole numbers, if they are cursors: see sources/cursor_columns.py."""


def pause_stream(warehouse: Warehouse, pipeline: Pipeline, stream: Stream, by: str, reason: str = "") -> Pause:
    """Let no run read a stream until it is resumed. Return the pause; one that holds already stays as it is."""
    by, reason = _cut(by, pauses.MAX_BY), _cut(reason, pauses.MAX_REASON)
    wanted = Pause(stream.name, datetime.now(UTC), by, reason)
    with warehouse.open_ledger(_place(pipeline, stream)) as ledger:
        retry_on_conflict(ledger.connection, ledger.ensure)
        pause = retry_on_conflict(ledger.connection, lambda: pauses.record_pause(ledger, pipeline.name, wanted))
    warehouse.forget_pauses(pipeline)
    return pause


def resume_stream(warehouse: Warehouse, pipeline: Pipeline, stream: Stream) -> Pause | None:
    """Let runs read a stream again. Return the pause that ended; None if the stream was not paused."""
    with warehouse.open_ledger(_place(pipeline, stream)) as ledger:
        ended = None
        if pauses.list_pauses(ledger, pipeline.name):
            ended = retry_on_conflict(
                ledger.connection, lambda: pauses.remove_pause(ledger, pipeline.name, stream.name)
            )
    warehouse.forget_pauses(pipeline)
    return ended


def check_position(pipeline: Pipeline, stream: Stream, position: datetime | int | None) -> None:
    """Raise ConfigurationError when a stream cannot have this position (None: the beginning).

    Without a cursor it has none, and a moment in the future is not used.
    """
    place = _place(pipeline, stream)
    if not stream.capture.cursor_column:
        raise ConfigurationError(
            f"it has no position: its capture is {type(stream.capture).__name__}",
            place=place,
            remedy=_remedy_without_position(pipeline, stream),
        )
    if isinstance(position, datetime) and position > datetime.now(UTC):
        raise ConfigurationError(
            f"the position {position.isoformat()} lies in the future, where no row was changed yet",
            place=place,
            remedy="choose a moment before now",
        )


def find_position(warehouse: Warehouse, pipeline: Pipeline, stream: Stream) -> str | None:
    """Return the position of a stream; None: the next window begins at the beginning.

    Raises ConfigurationError when the stream was never loaded.
    """
    with warehouse.open_ledger(_place(pipeline, stream)) as ledger:
        if stream.name not in ledger.list_members(pipeline.name):
            raise ConfigurationError(
                "it was never loaded, so it has no position",
                place=_place(pipeline, stream),
                remedy=f"run `millrace run {pipeline.cli_name}`, which reads everything",
            )
        return ledger.find_position(pipeline.name, stream.name)


def write_position(
    warehouse: Warehouse, pipeline: Pipeline, stream: Stream, position: datetime | int | None
) -> str | None:
    """Return a position as the ledger writes it. Raises ConfigurationError for a moment where the cursor holds numbers.

    So for a number where it does not, by the type that the cursor's column had in the last load.
    """
    if position is None:
        return None
    cursor = stream.capture.cursor_column
    columns = warehouse.find_state(pipeline, stream).columns
    holds_numbers = any(column.path == cursor and column.type.kind in NUMBERS for column in columns)
    if isinstance(position, int) != holds_numbers:
        holds, option = ("numbers", "--to-number") if holds_numbers else ("moments", "--to")
        raise ConfigurationError(
            f"its cursor {cursor!r} holds {holds}",
            place=_place(pipeline, stream),
            remedy=f"give {option}, or --to-beginning",
        )
    return position_of_number(stream, position) if isinstance(position, int) else position.astimezone(UTC).isoformat()


def reset_position(
    warehouse: Warehouse, pipeline: Pipeline, stream: Stream, position: datetime | int | None, holder: str
) -> None:
    """Let the next window of a stream begin at ``position`` (None: at the beginning).

    No row of the target changes. Raises StreamBusy while another run holds the stream.
    """
    check_position(pipeline, stream, position)
    text = write_position(warehouse, pipeline, stream, position)
    with warehouse.lease(pipeline, stream, holder) as token:
        try:
            with warehouse.change_position(pipeline, stream, token, _place(pipeline, stream)) as ledger:
                retry_on_conflict(
                    ledger.connection,
                    lambda: reset.record_reset(ledger, pipeline.name, stream.name, text, token),
                )
        finally:
            warehouse.release(pipeline, {stream.name: token})


def _remedy_without_position(pipeline: Pipeline, stream: Stream) -> str:
    if stream.reference.kind.is_queue:
        return "read messages again with `run --from`"
    if stream.capture.reads_log:
        return f"type `millrace sweep {pipeline.cli_name} --stream {stream.name}`, which compares all rows"
    return "nothing is to be reset: every run reads all rows"


def _place(pipeline: Pipeline, stream: Stream) -> str:
    return f"stream {pipeline.name}.{stream.name}"


def _cut(text: str, size_bytes: int) -> str:
    return text.encode()[:size_bytes].decode(errors="ignore")
