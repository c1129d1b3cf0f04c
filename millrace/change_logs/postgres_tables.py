"""What the change log of Postgres can tell of the tables of streams, and what to do where it cannot.

A wrong publication breaks the application that writes the table: so it is only ever told as SQL to run, never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.base.naming import quote
from millrace.declaration.stream import Stream
from millrace.drivers.psycopg_errors import statement

ALL_COLUMNS = "*"
COLUMN_LISTS = 150_000
"""The first version of Postgres whose publications may hold some columns of a table only."""
TABLE, PARTITIONED = "r", "p"
COLUMNS = (
    "relation", "kind", "has_children", "has_several_identities", "identity", "is_published", "tells_all_operations",
    "is_named", "published_columns", "row_filter", "fingerprint", "estimated_rows",
)  # fmt: skip
"""What sql/millrace/postgres_log_tables.sql tells of a table."""


@dataclass(frozen=True)
class PublishedTable:
    """A table of a stream as the catalog has it, and its place in the publication."""

    relation: int
    """Its number (OID)."""
    kind: str
    has_children: bool
    has_several_identities: bool
    identity: Collection[str]
    """The columns by which the log names a row that was deleted or got another key; ``*``: all of them."""
    is_published: bool
    tells_all_operations: bool | None
    """Whether the publication holds inserts, updates, deletes and TRUNCATE; None: there is no publication."""
    is_named: bool
    """Whether the publication names the table itself, and not its schema or all tables."""
    published_columns: Collection[str] | None
    row_filter: str | None
    fingerprint: str
    estimated_rows: int

    def names_rows_by(self, keys: Collection[str]) -> bool:
        """Return whether the log tells these columns of every changed row."""
        return ALL_COLUMNS in self.identity or set(keys) <= set(self.identity)


def find_published(connection: Any, streams: Sequence[Stream], publication: str) -> list[PublishedTable]:
    """Return the tables of streams, in their order.

    Raises SourceMissing for a table that does not exist, and ConfigurationError with the SQL to run where the log does
    not tell the changed keys of one.
    """
    names = {
        "schemas": [stream.reference.schema for stream in streams],
        "names": [stream.reference.name for stream in streams],
        "publication": publication,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement("postgres_log_tables"), names)
        rows = cursor.fetchall()
    for stream, (relation, *_) in zip(streams, rows, strict=True):
        if relation is None:
            raise SourceMissing("there is no such table", place=stream.place, remedy="correct the declaration")
    tables = [PublishedTable(**dict(zip(COLUMNS, row, strict=True))) for row in rows]
    for stream, table in zip(streams, tables, strict=True):
        _refuse_unnamed_rows(stream, table)
    if any(not table.is_published for table in tables):
        _refuse_unpublished(streams, tables, publication, connection.server_version)
    for stream, table in zip(streams, tables, strict=True):
        _refuse_filters(stream, table, publication)
    return tables


def _refuse_unnamed_rows(stream: Stream, table: PublishedTable) -> None:
    if table.kind not in {TABLE, PARTITIONED}:
        raise ConfigurationError(
            "it is no table, and the change log tells changes of tables only",
            place=stream.place,
            remedy="declare the table, or another capture",
        )
    if table.kind == TABLE and table.has_children:
        raise ConfigurationError(
            "other tables inherit from it, and the change log tells their changes as those of other tables",
            place=stream.place,
            remedy="declare another capture, or a stream for each of the tables",
        )
    if table.has_several_identities or not table.names_rows_by(stream.keys):
        table_name = quote(stream.reference.schema, stream.reference.name)
        raise ConfigurationError(
            f"the change log names its changed rows by {_name(table.identity)}, and the key of the stream is "
            f"{_name(stream.keys)}",
            place=stream.place,
            remedy="declare the primary key as the key of the stream; or name rows by a unique index without NULLs: "
            f"ALTER TABLE {table_name} REPLICA IDENTITY USING INDEX …, for a partitioned table also of its partitions",
        )


def _refuse_unpublished(
    streams: Sequence[Stream], tables: Sequence[PublishedTable], publication: str, server_version: int
) -> None:
    described = [_describe(stream, table, server_version) for stream, table in zip(streams, tables, strict=True)]
    missing = [text for text, table in zip(described, tables, strict=True) if not table.is_published]
    command = (
        f"ALTER PUBLICATION {quote(publication)} ADD TABLE {', '.join(missing)}"
        if len(missing) < len(described)
        else create_publication(streams, tables, publication, server_version)
    )
    raise ConfigurationError(
        f"publication {publication} does not exist, or lacks {len(missing)} of {len(described)} tables",
        place=streams[0].place,
        remedy=f"let the owner of the tables run: {command}",
    )


def create_publication(
    streams: Sequence[Stream], tables: Sequence[PublishedTable], publication: str, server_version: int
) -> str:
    """Return the SQL that creates the publication of these tables.

    Only key columns are published, where Postgres can do that: values never leave the server by the log. With the
    identity FULL all columns must be, or the application could not update the table any more.
    """
    described = [_describe(stream, table, server_version) for stream, table in zip(streams, tables, strict=True)]
    return (
        f"CREATE PUBLICATION {quote(publication)} FOR TABLE {', '.join(described)} "
        "WITH (publish_via_partition_root = true)"
    )


def _describe(stream: Stream, table: PublishedTable, server_version: int) -> str:
    name = quote(stream.reference.schema, stream.reference.name)
    if ALL_COLUMNS in table.identity or server_version < COLUMN_LISTS:
        return name
    return f"{name} ({', '.join(map(quote, sorted(table.identity)))})"


def _refuse_filters(stream: Stream, table: PublishedTable, publication: str) -> None:
    if not table.tells_all_operations:
        raise ConfigurationError(
            f"publication {publication} leaves out some kinds of changes",
            place=stream.place,
            remedy=f"ALTER PUBLICATION {quote(publication)} SET (publish = 'insert, update, delete, truncate')",
        )
    if not table.is_named:
        raise ConfigurationError(
            f"publication {publication} holds it by its schema, or holds all tables: nobody sees when one leaves it",
            place=stream.place,
            remedy="name the tables: CREATE PUBLICATION … FOR TABLE …",
        )
    if table.row_filter:
        raise ConfigurationError(
            f"publication {publication} holds some of its rows only: {table.row_filter}",
            place=stream.place,
            remedy="publish the table without a row filter, and declare where= on the stream",
        )
    if table.published_columns is not None and not set(stream.keys) <= set(table.published_columns):
        raise ConfigurationError(
            f"publication {publication} does not hold all columns of the key ({_name(stream.keys)})",
            place=stream.place,
            remedy="publish these columns as well",
        )


def _name(columns: Collection[str]) -> str:
    return ", ".join(columns) or "no column"
