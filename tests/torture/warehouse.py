"""The warehouse as the machine sees it: the rows of one target and the ledger's lines on one stream, read plainly, and
who holds its lease, there or in the lake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import psycopg2

from millrace.base.naming import DELETED_AT, LOADED_AT, ROW_HASH, column_name, literal, quote
from millrace.lake.lease import LakeLeases
from millrace.warehouse.ledger.lease import LAKE
from tests.support.engine import PIPELINE
from tests.torture.values import Key, Row

NO_SUCH_TABLE = "42P01"
COUNTS = "rows_read, rows_inserted, rows_updated, rows_deleted, rows_unchanged, rows_rejected"


@dataclass(frozen=True)
class Held:
    """``rows`` of the target by key and column, ``marked`` the keys of those that are marked as deleted, ``doubled``
    the keys held more than once, ``columns`` the column of each path, ``loaded_at`` when a row was loaded."""

    rows: dict[Key, Row] = field(default_factory=dict)
    marked: frozenset[Key] = frozenset()
    doubled: tuple[Key, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    loaded_at: dict[Key, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """A batch in the ledger, or the entry of a reset; ``counts``: read, inserted, updated, deleted, unchanged,
    rejected. ``open_rejects``: of its rejected rows, those that were not read again."""

    batch_id: str
    kind: Literal["window", "sweep", "replay", "reset"]
    manifest: str
    read_at: datetime
    position: str | None
    counts: tuple[int, ...]
    open_rejects: int

    @property
    def deleted(self) -> int:
        """Rows that the batch took out of the target, or marked."""
        return self.counts[3]

    @property
    def rejected(self) -> int:
        """Rows that the batch rejected."""
        return self.counts[5]


class WarehouseView:
    """Of one stream, whose name may change; ``connect`` opens a connection that nothing happens to, ``clock`` is the
    dialect's, ``lake`` are the leases in the lake."""

    def __init__(
        self, connect: Callable[[], Any], clock: str, stream: str, keys: Sequence[str], lake: LakeLeases
    ) -> None:
        self._connection, self._clock, self.stream, self._lake = connect(), clock, stream, lake
        self._connection.autocommit = True
        self._keys = [column_name(key) for key in keys]

    @property
    def _own(self) -> str:
        return f"pipeline = {literal(PIPELINE)} AND stream = {literal(self.stream)}"

    def is_loaded(self, stream: str) -> bool:
        """Whether the ledger has a batch of a stream of this name."""
        rows, _ = self._query(
            "SELECT 1 FROM millrace.batches "
            f"WHERE pipeline = {literal(PIPELINE)} AND stream = {literal(stream)} LIMIT 1"
        )
        return bool(rows)

    def held(self) -> Held:
        """What the target holds; nothing when there is no target."""
        rows, names = self._query(f"SELECT * FROM {quote(PIPELINE, self.stream)}")
        columns, _ = self._query(f"SELECT path, name FROM millrace.columns WHERE {self._own}")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        keys = [tuple(row[key] for key in self._keys) for row in found]
        marked = frozenset(key for key, row in zip(keys, found, strict=True) if row.pop(DELETED_AT, None))
        doubled = tuple(key for key, times in Counter(keys).items() if times > 1)
        loaded_at = {key: row[LOADED_AT] for key, row in zip(keys, found, strict=True)}
        values = [{name: row[name] for name in row if name not in {ROW_HASH, LOADED_AT}} for row in found]
        return Held(dict(zip(keys, values, strict=True)), marked, doubled, dict(columns), loaded_at)

    def lines(self) -> list[Line]:
        """The stream's batches in the order of their reads."""
        rows, _ = self._query(
            f"SELECT batch_id, kind, manifest, read_at, position, {COUNTS}, (SELECT coalesce(sum(rows_rejected), 0) "
            "FROM millrace.rejects AS r WHERE r.batch_id = b.batch_id AND closed_by IS NULL) "
            f"FROM millrace.batches AS b WHERE {self._own} ORDER BY read_at"
        )
        return [Line(*(*row[:5], tuple(row[5:11]), int(row[11]))) for row in rows]

    def holder(self) -> str | None:
        """Who holds the lease now."""
        rows, _ = self._query(
            "SELECT holder FROM millrace.leases "
            f"WHERE {self._own} AND expires_at > {self._clock} ORDER BY token DESC LIMIT 1"
        )
        in_warehouse = rows[0][0] if rows else None
        return in_warehouse if in_warehouse not in {None, LAKE} else self._lake.find_holder(PIPELINE, self.stream)

    def newest_token(self) -> int:
        """Of the leases that were taken, 0 when none was."""
        rows, _ = self._query(f"SELECT max(token) FROM millrace.leases WHERE {self._own}")
        in_warehouse = rows[0][0] if rows else None
        return max(in_warehouse or 0, self._lake.find(PIPELINE, self.stream).token)

    def expire_lease(self) -> None:
        """As if its time were over."""
        self._query(
            f"UPDATE millrace.leases SET expires_at = '2001-01-01' WHERE {self._own} AND holder <> {literal(LAKE)}"
        )
        if token := self._lake.find(PIPELINE, self.stream).token:
            self._lake.extend(PIPELINE, self.stream, token, seconds=0)

    def forget(self) -> None:
        """Leave nothing behind."""
        self._query(f"DROP TABLE IF EXISTS {quote(PIPELINE, self.stream)}")
        for table in ("batches", "rejects", "columns", "leases", "pauses"):
            self._query(f"DELETE FROM millrace.{table} WHERE {self._own}")
        self._connection.close()

    def _query(self, sql: str) -> tuple[list[tuple[Any, ...]], list[str]]:
        """Rows and the names of their columns; nothing from a table that is not there."""
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(sql)
            except psycopg2.Error as error:
                if error.pgcode != NO_SUCH_TABLE:
                    raise
                return [], []
            rows = list(cursor.fetchall()) if cursor.description else []
            return rows, [column[0] for column in cursor.description or ()]
