"""The messages of a replication slot, read up to a position and left in the slot.

The server writes all messages that one call gives into a temporary file before it sends the first one. So a long log is
read in steps, from a temporary copy of the slot that moves on with each step while the slot itself stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import polars as pl
import psycopg2

from millrace.base.naming import literal, quote
from millrace.change_logs.lsn import format_lsn, parse_lsn
from millrace.drivers.pipe import CHUNK_BYTES
from millrace.drivers.session_settings import begin_reading
from millrace.sources.postgres import PostgresDriver

STEP_BYTES = 1024 * 1024 * 1024
"""How much log one step reads. Its temporary file is smaller: it holds keys, and nothing of other tables."""
SLOT_CHARACTERS = 50
"""How much of a slot's name the name of its copy has: Postgres takes 63 characters, and a process number follows."""
_UNDEFINED = "42704"
"""The SQLSTATE where a slot is missing, or a publication was missing at the time of a change."""
_NO_SLOT_FREE = "53400"
_SKIPPED = "skipped loading publication"


@dataclass(frozen=True)
class SlotMessages:
    """The messages between two positions of a slot, for the tables of a publication."""

    slot: str
    publication: str
    first: str
    """Where the slot is."""
    end: str

    def read(self, connection: Any, take: Callable[[pl.DataFrame], None]) -> bool:
        """Give all messages to ``take`` in their order, in frames of ``xid`` and the bytes (``data``).

        Return False when the publication did not exist when a change was made: the server does not tell that change,
        and cannot read on from it. The connection is used for nothing else, before and after.
        """
        begin_reading(connection, "READ COMMITTED")
        try:
            for query in self._write_queries(connection):
                with closing(PostgresDriver().stream_csv(connection, query, CHUNK_BYTES)) as blocks:
                    for block in blocks:
                        take(_parse(block))
        except psycopg2.Error as error:
            if error.pgcode == _UNDEFINED:
                return False
            raise
        return not any(_SKIPPED in notice for notice in connection.notices)

    def _write_queries(self, connection: Any) -> Iterator[str]:
        """Yield the queries to run one after the other."""
        first, end = parse_lsn(self.first), parse_lsn(self.end)
        copy = self._copy_slot(connection) if end - first > STEP_BYTES else None
        if copy is None:
            yield self._select("peek", self.slot, end)
            return
        for position in (*range(first + STEP_BYTES, end, STEP_BYTES), end):
            yield self._select("get", copy, position)
        # Behind a pooler the session of the server goes on, and the copy with it.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_drop_replication_slot(%s)", (copy,))

    def _copy_slot(self, connection: Any) -> str | None:
        """Return the name of a copy that ends with the session; None if the server has no slot to spare."""
        name = f"{self.slot[:SLOT_CHARACTERS]}_{connection.get_backend_pid()}"
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_copy_logical_replication_slot(%s, %s, true)", (self.slot, name))
        except psycopg2.Error as error:
            if error.pgcode != _NO_SLOT_FREE:
                raise
            begin_reading(connection, "READ COMMITTED")
            return None
        return name

    def _select(self, verb: str, slot: str, position: int) -> str:
        options = f"'proto_version', '1', 'publication_names', {literal(quote(self.publication))}"
        return (
            f"SELECT xid::text::bigint, encode(data, 'hex') FROM pg_catalog.pg_logical_slot_{verb}_binary_changes("
            f"{literal(slot)}, {literal(format_lsn(position))}, NULL, {options})"
        )


def _parse(block: bytes) -> pl.DataFrame:
    messages = pl.read_csv(BytesIO(block), has_header=False, schema={"xid": pl.Int64, "data": pl.String})
    return messages.with_columns(pl.col("data").str.decode("hex"))
