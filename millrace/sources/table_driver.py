"""The operations in which kinds of databases with tables differ (docs/extending.md)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace.base.errors import ConfigurationError
from millrace.base.types import Column
from millrace.declaration.stream import Stream
from millrace.sources.chunk import CANNOT_LIST, DECLARE_BY_HAND
from millrace.sources.found import FoundTable
from millrace.sources.position import SourceMoment
from millrace.sources.rows import SourceColumn

Connect = Callable[[], Any]
"""Opens a new connection of the driver."""


@dataclass(frozen=True)
class SharedSnapshot:
    """A snapshot that one connection keeps open and other connections read in as well."""

    name: str
    """What the server calls it."""
    moment: SourceMoment


class TableDriver(ABC):
    """The operations in which kinds of databases with tables differ; ``TableSource`` does the rest."""

    random_expression: str
    """The SQL of a random number from 0 to 1, drawn for each row."""

    @abstractmethod
    def translate_errors(self, place: str) -> AbstractContextManager[None]:
        """Return a context in which the errors of the driver become those of Millrace, naming ``place``."""

    @abstractmethod
    def open_snapshot(self, connection: Any, connect: Connect, /) -> SourceMoment:
        """Prepare the session, look at the clock and at open transactions, then take the snapshot.

        All later queries on this connection see the snapshot. ``connect`` opens another connection, by which a pooler
        shows itself.
        """

    @abstractmethod
    def read_clock(self, connection: Any, /) -> datetime:
        """Return the time of the server now, in UTC, by the clock that tells when transactions began."""

    @abstractmethod
    def describe_columns(
        self, connection: Any, stream: Stream, target_columns: Sequence[Column]
    ) -> tuple[SourceColumn, ...]:
        """Return the columns of the table, typed and named for the stream.

        The ``types`` of the stream are applied, and columns keep the names that ``target_columns`` give them.
        """

    def has_replaced_files(self, _connection: Any, _stream: Stream, /) -> bool:
        """Return whether the table got other files since the snapshot was taken, so that rows are missing in it.

        It is asked after a read. By default it is not, because the server itself refuses such a read.
        """
        return False

    def find_tables(self, _connection: Any, schema: str, /) -> list[FoundTable]:
        """Return the tables and views of a schema, for `millrace init`.

        Raises ConfigurationError where the kind of database cannot list them.
        """
        raise ConfigurationError(CANNOT_LIST, place=schema, remedy=DECLARE_BY_HAND)

    @abstractmethod
    def quote(self, *identifiers: str) -> str:
        """Return the identifiers as SQL, with dots between them."""

    @abstractmethod
    def select_list(self, stream: Stream, columns: Sequence[SourceColumn]) -> str:
        """Return the SQL between SELECT and FROM, so that ``stream_csv`` gives rows that ``rows.decode`` reads."""

    @abstractmethod
    def position_literal(self, column: SourceColumn, position: datetime) -> str:
        """Return a position as SQL that the cursor column is compared with.

        The position is in UTC, or without a zone if the column has none.
        """

    @abstractmethod
    def key_condition(self, connection: Any, columns: Sequence[SourceColumn], rows: Sequence[tuple[Any, ...]]) -> str:
        """Return a condition that these columns are equal, byte for byte, to one of the rows.

        It is written so that the index of the columns is used.
        """

    @abstractmethod
    def stream_csv(self, connection: Any, query: str, chunk_bytes: int) -> Generator[bytes, None, None]:
        """Yield the rows of a query as CSV, in blocks of about ``chunk_bytes`` that end with a row.

        Raises the errors of the driver.
        """
