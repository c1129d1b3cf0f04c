"""Check that a field of MongoDB can be the cursor column: the first documents tell, because a field has no type."""

from __future__ import annotations

from typing import Any

from millrace.base.errors import ConfigurationError
from millrace.declaration.stream import Stream
from millrace.sources.object_ids import is_object_id_cursor

SAMPLED_DOCUMENTS = 1_000
OTHERWISE = "capture=Snapshot()"
OTHERWISE_INSERTS = 'Incremental("_id") if documents are only inserted and have ObjectIds, or capture=Snapshot()'


async def refuse_undated(collection: Any, session: Any, stream: Stream, place: str) -> None:
    """Raise ConfigurationError when documents have the cursor field, but none of the first ones has a date in it.

    An ObjectId in ``_id`` tells a time as well. Without any time, every row would be rejected. ``collection`` and
    ``session`` (or None) are those of Motor.
    """
    path = stream.capture.cursor_column
    types = {"$group": {"_id": {"$type": f"${path}"}, "documents": {"$sum": 1}}}
    steps = [{"$limit": SAMPLED_DOCUMENTS}, types, {"$sort": {"documents": -1}}]
    counted = collection.aggregate(steps, session=session)
    found = [
        counted_type["_id"]
        async for counted_type in counted
        if counted_type["_id"] not in {"missing", "null", "undefined"}
    ]
    by_id = is_object_id_cursor(stream)
    if found and "date" not in found and not (by_id and "objectId" in found):
        raise ConfigurationError(
            f"cursor {path!r} is of type {' and '.join(found)}",
            place=place,
            remedy=f"use a field of type date that every insert and update sets, or "
            f"{OTHERWISE if by_id else OTHERWISE_INSERTS}",
        )
