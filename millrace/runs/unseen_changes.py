"""Which changes of a source the cursor of a stream does not show: a person must know it before the first run."""

from __future__ import annotations

from collections.abc import Sequence

from millrace.base.types import EXACT_NUMBERS, Column
from millrace.declaration.stream import Stream
from millrace.sources.object_ids import is_object_id_cursor


def describe_unseen_changes(stream: Stream, columns: Sequence[Column]) -> str:
    """Return what a cursor that only inserts set does not show, for people; '': it shows inserts and updates.

    ``columns`` are those of the table; a collection has none.
    """
    cursor = stream.capture.cursor_column
    is_number = any(column.path == cursor and column.type.kind in EXACT_NUMBERS for column in columns)
    if not is_number and not is_object_id_cursor(stream):
        return ""
    rest = f"arrive with the sweep ({stream.sweep})" if stream.sweep else "do not arrive: no sweep is declared"
    return f"cursor {cursor!r} shows inserts only; updates and deletes {rest}"
