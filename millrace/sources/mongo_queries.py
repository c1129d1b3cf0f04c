"""Queries of MongoDB: the documents of a window, and documents by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from bson import Decimal128, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.errors import InvalidId

from millrace.base.errors import ConfigurationError
from millrace.base.naming import column_name
from millrace.base.rejects import HEX
from millrace.declaration.stream import Stream
from millrace.sources.bson_values import EXACT_FLOAT_INTEGERS, REGEX_FLAGS
from millrace.sources.chunk import Keys, Window
from millrace.sources.object_ids import DOCUMENT_KEY, is_object_id_cursor, object_id_query

Query = dict[str, Any]

NO_DATES = (
    "double", "string", "object", "binData", "undefined", "objectId", "bool", "regex", "dbPointer", "javascript",
    "symbol", "javascriptWithScope", "int", "timestamp", "long", "decimal", "minKey", "maxKey",
)  # fmt: skip
"""Every type of a cursor field other than date and array.

They are named one by one, because an index serves that, but does not serve ``$not``.
"""
_ESCAPED_DOT = re.compile(r"(?<!\\)(?:\\\\)*\\\.")
BINARY_SUBTYPES = (*range(10), 128)
"""A column of bytes does not keep the subtype, and MongoDB tells bytes of two subtypes apart."""


def window_query(stream: Stream, window: Window, *, with_arrays: bool = True) -> Query:
    """Return the query of the documents in a window.

    Documents whose cursor field is missing or holds no date are in every window without an end, so that every run reads
    them or counts them as rejected.

    ``with_arrays`` asks for arrays as well, which takes a scan: an operator looks at the values in an array and not at
    the array.
    """
    if is_object_id_cursor(stream):
        return object_id_query(window)
    path = _plain(stream, stream.capture.cursor_column)
    conditions = {
        operator: datetime.fromisoformat(position)
        for operator, position in (("$gte", window.lower), ("$lt", window.upper))
        if position is not None
    }
    if window.upper is not None:
        return {path: conditions}
    if not conditions:
        return {}
    arrays = [{path_above: {"$type": "array"}} for path_above in _with_parents(path)] if with_arrays else []
    return {"$or": [{path: conditions}, {path: None}, {path: {"$type": list(NO_DATES)}}, *arrays]}


def declared_rows(stream: Stream, query: Query | None = None) -> Query:
    """Return the query of the documents that the stream replicates, and that ``query`` asks for."""
    declared = dict(stream.where) if isinstance(stream.where, Mapping) else {}
    return {"$and": [declared, query]} if declared and query else declared or query or {}


def keys_query(stream: Stream, keys: Keys) -> Query:
    """Return the query of the documents that have one of the keys."""
    chosen = paths_of(stream, keys)
    if len(chosen) == 1:
        return _one_of(chosen[0], [form for (value,) in keys.rows for form in bson_forms(value)])
    rows = ([_one_of(path, bson_forms(value)) for path, value in zip(chosen, row, strict=True)] for row in keys.rows)
    return {"$or": [{"$and": row} for row in rows]}


def paths_of(stream: Stream, keys: Keys) -> list[str]:
    """Return the paths of the fields that the keys are made of, as MongoDB takes them."""
    paths = {column_name(path): _plain(stream, path) for path in (DOCUMENT_KEY, *stream.keys)}
    return [paths[name] for name in keys.names]


def projection_of(paths: Sequence[str]) -> Query:
    """Return the projection of these fields alone."""
    has_id = any(path.split(".")[0] == DOCUMENT_KEY for path in paths)
    return ({} if has_id else {DOCUMENT_KEY: 0}) | dict.fromkeys(paths, 1)


def bson_forms(value: Any) -> list[Any]:
    """Return what the value of a column, or its text in a row location, may have been in the document."""
    if isinstance(value, str):
        return [value, *_read_as(FORMS_OF_TEXT, value)]
    for kind, ways in _FORMS.items():
        if isinstance(value, kind):
            return list(_read_as(ways, value))
    return [value]


def _read_as(ways: Sequence[Callable[[Any], Any]], value: Any) -> Iterator[Any]:
    for way in ways:
        with suppress(ValueError, ArithmeticError, InvalidId):
            yield way(value)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _timestamp(text: str) -> Timestamp:
    """Return the Timestamp whose text ``bson_values.timestamp_text`` gives."""
    seconds, _, ordinal = text.partition(".")
    return Timestamp(int(seconds), int(ordinal))


def _regex(text: str) -> Regex[str]:
    """Return the Regex whose text ``bson_values.regex_text`` gives."""
    match = re.fullmatch(rf"/(.*)/([{''.join(REGEX_FLAGS)}]*)", text, re.DOTALL)
    if match is None:
        raise ValueError("no regular expression")
    return Regex(match[1], sum(flag for letter, flag in REGEX_FLAGS.items() if letter in match[2]))


def _of_subtype(subtype: int) -> Callable[[bytes], Binary]:
    return lambda value: Binary(bytes(value), subtype)


def _large_float(number: int) -> float:
    """Return the float of a whole number beyond 53 bits, because not all servers compare such numbers exactly."""
    if abs(number) <= EXACT_FLOAT_INTEGERS or float(number) != number:
        raise ValueError("not needed")
    return float(number)


def _of_digits(subtype: int) -> Callable[[str], Binary]:
    def read(text: str) -> Binary:
        if not text.startswith(HEX):
            raise ValueError("no binary value")
        return Binary(bytes.fromhex(text.removeprefix(HEX)), subtype)

    return read


FORMS_OF_TEXT: tuple[Callable[[str], Any], ...] = (
    ObjectId,
    lambda text: Binary.from_uuid(UUID(text)),
    _moment,
    Decimal128,
    _timestamp,
    _regex,
    *map(_of_digits, BINARY_SUBTYPES),
)
_FORMS: dict[type, tuple[Callable[[Any], Any], ...]] = {
    bool: (lambda value: value,),
    int: (lambda value: value, _large_float),
    Decimal: (Decimal128,),
    UUID: (Binary.from_uuid,),
    Binary: (lambda value: value,),
    bytes: tuple(map(_of_subtype, BINARY_SUBTYPES)),
    datetime: (lambda value: value,),
    date: (lambda value: datetime.combine(value, time(), UTC),),
}
"""The forms by the type of the value, narrower types before wider ones.

A value comes from the driver of the warehouse, or is text of a row location.
"""


def _one_of(path: str, values: Sequence[Any]) -> Query:
    """Return the query of documents that have one of the values at a path.

    ``$in`` takes a regular expression for a pattern of texts, ``$eq`` takes it for the value that it is.
    """
    patterns = [value for value in values if isinstance(value, Regex)]
    plain = {path: {"$in": [value for value in values if not isinstance(value, Regex)]}}
    return {"$or": [plain, *({path: {"$eq": pattern}} for pattern in patterns)]} if patterns else plain


def _with_parents(path: str) -> list[str]:
    """Return ``a``, ``a.b`` and ``a.b.c`` for ``a.b.c``."""
    steps = path.split(".")
    return [".".join(steps[:length]) for length in range(1, len(steps) + 1)]


def _plain(stream: Stream, path: str) -> str:
    """Return a path as MongoDB takes it. Raises ConfigurationError if MongoDB has no way to query it."""
    if _ESCAPED_DOT.search(path):
        raise ConfigurationError(
            f"MongoDB cannot be asked for field {path!r}, because its name holds a dot",
            place=stream.place,
            remedy="declare another field as key or cursor",
        )
    return path.replace("\\\\", "\\")
