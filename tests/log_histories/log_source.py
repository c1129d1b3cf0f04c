"""Two tables between which amounts are transferred, their writers, and every state that they ever had together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import psycopg2

from millrace.seed_data.transfers import KEYS_OF_ACCOUNT, OPENING_AMOUNT, TABLES, transfer
from tests.log_histories.log_server import LogServer
from tests.support.engine import PUBLICATION

ACCOUNTS = 6
SUM = 2 * ACCOUNTS * OPENING_AMOUNT
WRITERS = 3
LOCK_MILLISECONDS = 60
"""A statement that waits longer for a lock fails, and its transaction ends: writers are steps of one thread."""
NOTE = "(SELECT string_agg(md5(n::text || '{}'), '') FROM generate_series(1, 80) AS n)"
"""Random enough that Postgres keeps it apart from its row, and out of the log where it did not change."""

REFUSED = (
    psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected, psycopg2.errors.SerializationFailure,
    psycopg2.errors.UniqueViolation,
)  # fmt: skip
"""What a transaction of one writer meets because of another one."""

Rows = Mapping[int, dict[str, Any]]
"""Values by column, by key."""
State = Mapping[str, Rows]
"""What the tables held at one moment, by table."""


@dataclass
class Writer:
    """A session that writes transactions, statement by statement."""

    connection: Any
    statements: Iterator[str] | None = None


@dataclass
class LogSource:
    """The tables in a schema of their own. ``states``: all that the source had, in their order."""

    server: LogServer
    schema: str
    is_watched: bool
    """Whether every state is recorded; otherwise there are writers that nobody can stop between two."""
    states: list[State] = field(default_factory=list)
    writers: list[Writer] = field(default_factory=list)
    numbers: int = 0
    """How many names were given to what is made."""
    _reader: Any = None

    def create(self) -> None:
        """The tables, the second one with a partition for each range of keys, and their publication."""
        left, right = (self.name(table) for table in TABLES)
        columns = "id int PRIMARY KEY, amount int NOT NULL, note text"
        ranges = "".join(
            f"CREATE TABLE {right}_{place} PARTITION OF {right} "
            f"FOR VALUES FROM ({place * ACCOUNTS + 1}) TO ({(place + 1) * ACCOUNTS + 1});"
            for place in range(KEYS_OF_ACCOUNT)
        )
        self.run(
            f"CREATE SCHEMA {self.schema}; CREATE TABLE {left} ({columns});"
            f"CREATE TABLE {right} ({columns}) PARTITION BY RANGE (id); {ranges}"
            f"CREATE TABLE {right}_default PARTITION OF {right} DEFAULT;"
            + "".join(
                f"INSERT INTO {name} SELECT n, {OPENING_AMOUNT}, {NOTE.format(1)} "
                f"FROM generate_series(1, {ACCOUNTS}) AS n;"
                for name in (left, right)
            )
        )
        self.publish()
        self.watch()

    def publish(self) -> None:
        """Create the publication of both tables."""
        tables = ", ".join(f"{self.name(table)} (id)" for table in TABLES)
        create = f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {tables} WITH (publish_via_partition_root = true)"
        while not self.run(create):
            self.write_all_out()

    def name(self, table: str) -> str:
        """Its name in SQL."""
        return f"{self.schema}.{table}"

    def fresh_number(self) -> int:
        """A number that was not given yet."""
        self.numbers += 1
        return self.numbers

    def run(self, *statements: str) -> bool:
        """Run statements in one transaction on a session of their own, and record the state after it.

        Return whether it was committed: not if another transaction is in its way.
        """
        try:
            with closing(self._connect()) as connection, connection, connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        except REFUSED:
            return False
        self.watch()
        return True

    def write(self, dice: Random, statements: int) -> str:
        """Let a writer go on by so many statements of its transaction."""
        if not self.writers:
            self.writers = [Writer(self._connect()) for _ in range(WRITERS)]
        writer = dice.choice(self.writers)
        writer.statements = writer.statements or transfer(dice, ACCOUNTS)
        for _ in range(statements):
            statement = next(writer.statements, None)
            if statement is None:
                return self._end(writer, commit=dice.random() < 0.9)
            try:
                with writer.connection.cursor() as cursor:
                    cursor.execute(statement)
            except REFUSED:
                return "refused, " + self._end(writer, commit=False)
            if "TRUNCATE" in statement or "ACCESS EXCLUSIVE" in statement:
                # No run could read the table as long as the transaction is open.
                return self.write_out(writer)
        return "open"

    def write_out(self, writer: Writer) -> str:
        """Let a writer end its transaction."""
        try:
            with writer.connection.cursor() as cursor:
                for statement in writer.statements or ():
                    cursor.execute(statement)
        except REFUSED:
            return "refused, " + self._end(writer, commit=False)
        return self._end(writer, commit=True)

    def write_all_out(self) -> None:
        """End all open transactions."""
        for writer in self.writers:
            if writer.statements is not None:
                self.write_out(writer)

    def forget_writers(self) -> None:
        """Their sessions ended with the server."""
        for writer in self.writers:
            with suppress(psycopg2.Error):
                writer.connection.close()
        self.writers = []

    def _end(self, writer: Writer, *, commit: bool) -> str:
        writer.statements = None
        (writer.connection.commit if commit else writer.connection.rollback)()
        self.watch()
        return "committed" if commit else "rolled back"

    def watch(self) -> None:
        """Record the state that the source has now."""
        if self.is_watched and (state := self.read()) not in self.states[-1:]:
            self.states.append(state)

    def read(self) -> State:
        """What both tables hold now, in one snapshot."""
        parts = " UNION ALL ".join(
            f"SELECT {side}, to_jsonb(t) || jsonb_build_object('note', md5(note)) FROM {self.name(table)} AS t"
            for side, table in enumerate(TABLES)
        )
        found = self._fetch(parts)
        return {table: {row["id"]: row for number, row in found if number == side} for side, table in enumerate(TABLES)}

    def read_sum(self) -> int:
        """The sum of all amounts now."""
        return sum(row["amount"] for rows in self.read().values() for row in rows.values())

    def _fetch(self, query: str) -> list[tuple[Any, ...]]:
        """On a connection that is kept until the server is killed."""
        for _ in range(2):
            self._reader = self._reader or self._connect()
            self._reader.autocommit = True
            try:
                with self._reader.cursor() as cursor:
                    cursor.execute(query)
                    return list(cursor.fetchall())
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                self._reader.close()
                self._reader = None
        raise AssertionError("the source does not answer")

    def drop(self) -> None:
        """Leave nothing behind."""
        self.forget_writers()
        if self._reader is not None:
            self._reader.close()
        self.server.start_again()
        self.server.set(max_slot_wal_keep_size="")
        self.server.execute(f"DROP PUBLICATION IF EXISTS {PUBLICATION}")
        self.server.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL"
        )
        self.server.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
        self.server.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")

    def _connect(self) -> Any:
        options = f"-c search_path={self.schema} -c lock_timeout={LOCK_MILLISECONDS}"
        return psycopg2.connect(self.server.url, options=options)
