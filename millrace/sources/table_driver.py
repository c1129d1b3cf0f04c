"""What a kind of database with tables does in its own way (docs/extending.md)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from millrace.base.types import Column
from millrace.declaration.stream import Stream
from millrace.sources.position import SnapshotBound
from millrace.sources.rows import SourceColumn

Connect = Callable[[], Any]
"""Opens a new connection of the driver."""


class TableDriver(ABC):
    """What one kind of database with tables does in its own way; ``TableSource`` does the rest."""

    random_expression: str
    """SQL that is drawn from 0 to 1 for each row."""

    @abstractmethod
    def translate_errors(self, place: str) -> AbstractContextManager[None]:
        """Return a context in which the errors of the driver become those of Millrace, naming ``place``."""

    @abstractmethod
    def open_snapshot(self, connection: Any, connect: Connect) -> SnapshotBound:
        """Set how values are written, look at the clock and at open transactions, then take the snapshot that all
        queries on this connection see. ``connect`` opens another connection, by which a pooler shows itself.
        """

    @abstractmethod
    def describe_columns(
        self, connection: Any, stream: Stream, target_columns: Sequence[Column]
    ) -> tuple[SourceColumn, ...]:
        """Return the columns of the table, with the ``types`` of the stream applied and the names that the target
        gives them already.
        """

    @abstractmethod
    def quote(self, *identifiers: str) -> str:
        """Return the identifiers as SQL, with dots between them."""

    @abstractmethod
    def select_list(self, stream: Stream, columns: Sequence[SourceColumn]) -> str:
        """Return what stands between SELECT and FROM, so that ``stream_csv`` gives rows that ``rows.decode`` reads."""

    @abstractmethod
    def position_literal(self, column: SourceColumn, bound: datetime) -> str:
        """Return a bound as SQL that the cursor column is compared with. It is in UTC, or without zone where the column
        has none.
        """

    @abstractmethod
    def key_condition(self, connection: Any, columns: Sequence[SourceColumn], rows: Sequence[tuple[Any, ...]]) -> str:
        """Return a condition that these columns are, byte for byte, one of the rows, and that the index of the columns
        serves.
        """

    @abstractmethod
    def stream_csv(self, connection: Any, query: str, chunk_bytes: int) -> Generator[bytes, None, None]:
        """Give the rows of a query as CSV, in blocks of about ``chunk_bytes`` that end with a row. Raises the errors of
        the driver.
        """
