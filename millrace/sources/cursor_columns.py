"""Which columns of a table may be cursors: timestamps, dates, and whole numbers that grow with every insert.

A position of a timestamp or a date is a moment. A position of a number names its column (``id=5``), so that it is never
taken for a moment, nor for a number of another column.
"""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import TypeVar

from millrace.base.errors import ConfigurationError
from millrace.base.types import Kind
from millrace.declaration.captures import Problem
from millrace.declaration.stream import Stream
from millrace.sources.chunk import Window
from millrace.sources.rows import SourceColumn

TIMESTAMPS = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMP_UTC})
INTEGERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64})
DAY = timedelta(days=1)
LEAST_NUMBER = -(2**63)
"""No whole number of a database with tables is less: a window from here holds every row."""
_NUMBER = re.compile(r"(.*)=(-?\d+)", re.DOTALL)
Position = TypeVar("Position", bound="str | None")


def is_number(column: SourceColumn) -> bool:
    """Return whether a column holds whole numbers, and nothing else such as NaN."""
    data_type = column.column.type
    return data_type.kind in INTEGERS or (data_type.kind is Kind.DECIMAL and data_type.scale == 0 and column.exact)


def check_cursor(stream: Stream, column: SourceColumn) -> None:
    """Raise ConfigurationError for a column that cannot tell which rows changed, or needs another declaration."""
    if found := _find_problem(stream, column):
        problem, remedy = found
        raise ConfigurationError(problem, place=stream.place, remedy=remedy)


def _find_problem(stream: Stream, column: SourceColumn) -> Problem | None:
    path, kind, overlap = column.column.path, column.column.type.kind, stream.capture.overlap
    if kind in TIMESTAMPS:
        return _find_wrong_unit(path, kind, overlap)
    if not stream.capture.cursor_column or not (kind is Kind.DATE or is_number(column)):
        return f"cursor {path!r} is of type {column.column.type}", "use a timestamp that every insert and update sets"
    if kind is Kind.DATE:
        is_partial = isinstance(overlap, timedelta) and (overlap < DAY or overlap % DAY)
        partial = (
            f"cursor {path!r} is a date, and overlap={overlap} is not whole days",
            "declare timedelta(days=1) or more: rows of today are still to come",
        )
        return partial if is_partial else _find_wrong_unit(path, kind, overlap)
    if isinstance(overlap, timedelta):
        return (
            f"cursor {path!r} is a number, and overlap={overlap} is a time",
            "declare how many values are read again, such as overlap=1_000",
        )
    if not overlap and not stream.sweep:
        return (
            f"cursor {path!r} is a number, which shows no update, no delete and no row that is committed late",
            'declare a sweep (sweep="daily"), or how many values are read again (overlap=1_000)',
        )
    return None


def _find_wrong_unit(path: str, kind: Kind, overlap: timedelta | int | None) -> Problem | None:
    if not isinstance(overlap, int):
        return None
    unit = "days" if kind is Kind.DATE else "seconds"
    return (
        f"cursor {path!r} is of type {kind}, and overlap={overlap} is a number of values",
        f"declare a time, such as overlap=timedelta({unit}={overlap})",
    )


def overlap_of(stream: Stream, column: SourceColumn) -> timedelta | None:
    """Return the overlap of a timestamp or a date; of a date a day at least, because today is not over."""
    declared = stream.capture.overlap_time
    return declared or DAY if column.column.type.kind is Kind.DATE else declared


def date_bound(moment: datetime, *, is_upper: bool) -> str:
    """Return a moment of a wall clock as SQL that dates are compared with.

    A window holds every day of which it holds a part.
    """
    day = moment.date()
    return f"DATE '{(day + DAY if is_upper and moment.time() != time() else day).isoformat()}'"


def position_of_number(stream: Stream, number: int) -> str:
    """Return the position from which a window has this number and greater ones."""
    return f"{stream.capture.cursor_column}={number}"


def number_in(position: str) -> int | None:
    """Return the number of a position, whatever its column; None: it is a moment."""
    found = _NUMBER.fullmatch(position)
    return int(found[2]) if found else None


def number_of(position: str, stream: Stream) -> int | None:
    """Return the number of a position of the stream's cursor column; None: it is a position of something else."""
    found = _NUMBER.fullmatch(position)
    return int(found[2]) if found and found[1] == stream.capture.cursor_column else None


def fit_window(stream: Stream, column: SourceColumn, window: Window) -> tuple[Window, str]:
    """Return the window that is read: everything if its position is not one of this column. A note says so.

    Raises ConfigurationError when a person chose a span of time and the column holds numbers.
    """
    path = column.column.path
    if window.is_chosen and is_number(column):
        raise ConfigurationError(
            f"cursor {path!r} is a number, and the window is a span of time",
            place=stream.place,
            remedy="read everything again (--full), or sweep",
        )
    if window.lower is None or is_position(window.lower, stream, column):
        return window, ""
    return Window(upper=window.upper), f"{window.lower} is no position of cursor {path!r}: everything is read"


def is_position(position: str, stream: Stream, column: SourceColumn) -> bool:
    """Return whether a position was made by reads of this column, or of another one that holds moments."""
    if is_number(column):
        return number_of(position, stream) is not None
    return _NUMBER.fullmatch(position) is None
