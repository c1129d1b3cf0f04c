"""Compare tables of a source with their targets by SQL of its own, which shares nothing with the engine's hashes.

It compares every row by those columns that Python's drivers read alike from both sides: numbers, texts, dates, times of
the clock and booleans. The other types (documents, arrays, binary, intervals) are left to a deep sweep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
from bson import Decimal128, ObjectId

from millrace import Pipeline, Stream
from millrace.base.naming import column_name, quote, quote_in_backticks
from millrace.seed_data.own.documents import Documents

Connect = Callable[[], Any]
Rows = tuple[Sequence[str], list[Sequence[Any]]]
"""Names of columns, and the rows."""
_ALIKE = (bool, int, float, Decimal, str, datetime, date, type(None))
_MONEY = 790
"""The type of Postgres that its driver gives as a text with a sign of currency."""


@dataclass(frozen=True)
class PipelineCompared:
    """What a comparison of all streams of a pipeline found."""

    rows: int
    """Rows of the source."""
    missing: int
    """Rows that the warehouse lacks."""
    extra: int
    """Rows that only the warehouse has."""


def compare_pipeline(pipeline: Pipeline, read: Callable[[Stream], Rows], warehouse: Connect) -> PipelineCompared:
    """Compare every stream of a pipeline with its target; ``read`` reads the source of a stream."""
    compared = [_compare_stream(pipeline, stream, read(stream), warehouse) for stream in pipeline.streams]
    return PipelineCompared(*(sum(counts) for counts in zip(*map(astuple, compared), strict=True)))


def _compare_stream(pipeline: Pipeline, stream: Stream, source: Rows, warehouse: Connect) -> PipelineCompared:
    names, rows = source
    compared = [place for place in _list_alike(rows, range(len(names))) if names[place] not in stream.omitted]
    columns = ", ".join(quote(column_name(names[place])) for place in compared)
    with closing(warehouse()) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {quote(pipeline.target_schema)}.{quote(stream.table)}")
        found = cursor.fetchall()
    alike = _list_alike(found, range(len(compared)))
    expected = Counter(tuple(_plain(row[compared[place]]) for place in alike) for row in rows)
    held = Counter(tuple(_plain(row[place]) for place in alike) for row in found)
    return PipelineCompared(len(rows), (expected - held).total(), (held - expected).total())


def _list_alike(rows: Sequence[Sequence[Any]], places: Iterable[int]) -> list[int]:
    """Return the places at which every row has a value that both drivers give alike."""
    return [place for place in places if all(isinstance(_plain(row[place]), _ALIKE) for row in rows)]


def read_postgres(connect: Connect) -> Callable[[Stream], Rows]:
    """Return how the table of a stream is read from Postgres; money is left out."""

    def read(stream: Stream) -> Rows:
        with closing(connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {quote(stream.reference.schema)}.{quote(stream.reference.name)}")
            places = [place for place, column in enumerate(cursor.description) if column.type_code != _MONEY]
            names = [cursor.description[place].name for place in places]
            return names, [[row[place] for place in places] for row in cursor.fetchall()]

    return read


def read_mysql(connect: Connect) -> Callable[[Stream], Rows]:
    """Return how the table of a stream is read from MySQL."""

    def read(stream: Stream) -> Rows:
        with closing(connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {quote_in_backticks(stream.reference.name)}")
            return [column[0] for column in cursor.description], list(cursor.fetchall())

    return read


def read_documents(database: Documents) -> Callable[[Stream], Rows]:
    """Return how the collection of a stream is read from MongoDB, by the fields at the top of its documents."""

    def read(stream: Stream) -> Rows:
        documents = list(database[stream.reference.name].find())
        names = [*dict.fromkeys(name for document in documents for name in document)]
        return names, [[document.get(name) for name in names] for document in documents]

    return read


def _plain(value: Any) -> Any:
    """Return a value as both sides give it: moments in UTC without zone, identifiers as text, documents as such."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, str) and value[:1] in {"{", "["}:
        return orjson.loads(value)
    return value.to_decimal() if isinstance(value, Decimal128) else value
