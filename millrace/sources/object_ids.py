"""The ``_id`` of documents as a cursor: an ObjectId begins with the second in which a client made it.

It shows inserts only. An ``_id`` of another type tells no time, so that every window without an end has its document.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from millrace.declaration.source_kinds import MONGO
from millrace.declaration.stream import Stream
from millrace.sources.chunk import Window

DOCUMENT_KEY = MONGO.document_key
"""The field by which MongoDB identifies a document."""
OBJECT_ID_OVERLAP = timedelta(minutes=5)
"""The overlap of an ObjectId cursor, unless another is declared: clients make the ids by their own clocks, before they
insert, and a transaction may live 60 seconds."""
TIMELESS = (
    "double", "string", "object", "binData", "undefined", "bool", "regex", "dbPointer", "javascript", "symbol",
    "javascriptWithScope", "int", "timestamp", "long", "decimal", "minKey", "maxKey",
)  # fmt: skip
"""Every type of an ``_id`` other than ObjectId, date and null. No ``_id`` is an array."""
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2106, 2, 7, tzinfo=UTC)
"""The moments that an ObjectId can tell: 32 bits of seconds."""


def is_object_id_cursor(stream: Stream) -> bool:
    """Return whether the cursor is the ``_id`` of documents."""
    return stream.is_of_documents and stream.capture.cursor_column == DOCUMENT_KEY


def object_id_query(window: Window) -> dict[str, Any]:
    """Return the query of the documents in a window: by the time in ObjectIds, and by dates, which an ``_id`` may be.

    A window without an end has every document with an ``_id`` of another type as well.
    """
    bounds = {
        operator: datetime.fromisoformat(position)
        for operator, position in (("$gte", window.lower), ("$lt", window.upper))
        if position is not None
    }
    if not bounds:
        return {}
    ids = {operator: _first_id(moment, is_upper=operator == "$lt") for operator, moment in bounds.items()}
    dated: list[Mapping[str, Any]] = [{DOCUMENT_KEY: ids}, {DOCUMENT_KEY: bounds}]
    others = [] if window.upper is not None else [{DOCUMENT_KEY: None}, timeless_query()]
    return {"$or": [*dated, *others]}


def timeless_query() -> dict[str, Any]:
    """Return the query of the documents with an ``_id`` that tells no time."""
    return {DOCUMENT_KEY: {"$type": list(TIMELESS)}}


def describe_timeless(documents: int) -> str:
    """Return a note about documents with an ``_id`` that tells no time; '' if there are none."""
    return f"{documents:,} documents have an _id that is no ObjectId: every run reads them" if documents else ""


def _first_id(moment: datetime, *, is_upper: bool) -> ObjectId:
    """Return the first ObjectId of the second of a moment; as an upper bound, of the second after it."""
    aware = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    second = timedelta(seconds=1) if is_upper and aware.microsecond else timedelta(0)
    return ObjectId.from_datetime(min(max(aware, FIRST), LAST) + second)
