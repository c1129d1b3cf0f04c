"""One snapshot of MySQL or MariaDB in which several reads take place, one after the other, and keys of its log.

Only the connection that took a snapshot sees it, so all reads use that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from millrace.base.types import Kind
from millrace.sources.mysql_sessions import HELD, run
from millrace.sources.position import SourceMoment
from millrace.sources.rows import SourceColumn


@dataclass(frozen=True)
class HeldSnapshot:
    """A connection in its snapshot."""

    connection: Any
    moment: SourceMoment

    def lend(self) -> Any:
        """Return the connection for a read, which cannot close it."""
        return _LentConnection(self.connection)


class _LentConnection:
    """A connection whose ``close`` leaves it open."""

    def __init__(self, connection: Any) -> None:
        self._lent = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lent, name)

    def close(self) -> None:
        """Leave the connection to the next read."""


def hold(connection: Any, moment: SourceMoment) -> HeldSnapshot:
    """Keep the snapshot of a connection although the connection may be idle for long."""
    run(connection, HELD)
    return HeldSnapshot(connection, moment)


def render_keys(columns: Sequence[SourceColumn], keys: pl.DataFrame) -> bytes:
    """Return keys, whose parts are the fields that the server would render, as rows of CSV."""
    fields = [
        pl.format('"{}"', name) if column.as_bytes or column.column.type.kind is Kind.BINARY else pl.col(name)
        for name, column in zip(keys.columns, columns, strict=True)
    ]
    rows = keys.select(pl.concat_str(fields, separator=",")).to_series()
    return ("\n".join(rows) + "\n").encode()
