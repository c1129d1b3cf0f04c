"""Checks of a source with tables: Postgres and MySQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from millrace.base.errors import ConfigurationError, MillraceError, SourceMissing
from millrace.checks.check import Check
from millrace.checks.server import Server
from millrace.declaration.stream import Stream
from millrace.sources.mysql import MySQLDriver
from millrace.sources.mysql_moment import NOT_GRANTED
from millrace.sources.mysql_replica import LAG_UNKNOWN
from millrace.sources.position import SourceMoment, whole_seconds
from millrace.sources.postgres import BLIND, PostgresDriver
from millrace.sources.table_driver import Connect, TableDriver

CLOCK_LIMIT = timedelta(minutes=1)
LAG_LIMIT = timedelta(minutes=5)
"""How far a replica may be behind before it is told as wrong: its rows are late by as much."""
HAS_REPLAYED_ALL = (
    "SELECT pg_is_in_recovery() AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() "
    "AND EXISTS (SELECT 1 FROM pg_catalog.pg_stat_wal_receiver)"
)
"""Whether a replica is connected and has replayed what it received: where the primary writes nothing, the time of its
last commit tells no lag."""


@dataclass(frozen=True)
class TableKind:
    """What the checks of one kind of database with tables need."""

    driver: TableDriver
    grants: Mapping[str, str]
    """The statement that grants a missing right, by the words that say that it is missing."""
    has_replayed_all: str = ""
    """A query that tells whether a replica has all that its primary wrote; '': the lag tells it."""


POSTGRES_TABLES = TableKind(
    PostgresDriver(), {BLIND["not granted"]: "GRANT pg_read_all_stats TO {user}"}, HAS_REPLAYED_ALL
)
MYSQL_TABLES = TableKind(
    MySQLDriver(),
    {NOT_GRANTED: "GRANT PROCESS ON *.* TO {user}", LAG_UNKNOWN: "GRANT REPLICATION CLIENT ON *.* TO {user}"},
)


@dataclass(frozen=True)
class TableServer:
    """A server with tables that streams are read from."""

    server: Server
    kind: TableKind
    connect: Connect
    streams: Sequence[Stream]

    def checks(self) -> list[Check]:
        """Return the checks of the server, in order."""
        place = self.server.place
        return [
            *self.server.checks(),
            Check(place, "login", "Logs in and asks for the version.", self._login, True),
            *([Check(place, "tables", "Selects from every declared table.", self._select)] if self.streams else []),
            Check(place, "transactions", "Looks at open transactions.", self._find_transactions),
            Check(place, "replica", "Asks whether it is a replica, and how far behind.", self._find_lag),
            Check(place, "clock", "Compares its clock with this machine's.", self._compare_clocks),
        ]

    def _login(self) -> str:
        try:
            version = self._ask("SELECT version()")
        except MillraceError as error:
            raise self.server.correct_credentials(error) from None
        return f"{str(version).partition(' on ')[0]}, as {self.server.user}"

    def _select(self) -> str:
        missing, refused = [], {}
        for stream in self.streams:
            table = self.kind.driver.quote(stream.reference.schema, stream.reference.name)
            try:
                self._ask(f"SELECT * FROM {table} WHERE 1 = 0")
            except SourceMissing:
                missing.append(f"{stream.reference.schema}.{stream.reference.name}")
            except ConfigurationError as error:
                refused[error.problem] = self._grant(stream, error)
        if refused:
            raise ConfigurationError("; ".join(refused), remedy="; ".join(dict.fromkeys(refused.values())))
        if missing:
            raise SourceMissing(
                f"not there: {', '.join(missing)}", remedy="create them, or correct the declaration or the URL"
            )
        return f"{len(self.streams)} tables can be read"

    def _grant(self, stream: Stream, error: ConfigurationError) -> str:
        schema, table = stream.reference.schema, stream.reference.name
        quote = self.kind.driver.quote
        if "for schema" in error.problem:
            return f"`GRANT USAGE ON SCHEMA {quote(schema)} TO {self.server.user}`"
        return f"`GRANT SELECT ON {quote(schema, table)} TO {self.server.user}`"

    def _find_transactions(self) -> str:
        unseen_because = self._source_moment.unseen_because
        for words, grant in self.kind.grants.items():
            if words in unseen_because:
                raise ConfigurationError(
                    f"open transactions cannot be seen ({words})", remedy=f"`{grant.format(user=self.server.user)}`"
                )
        return f"cannot be seen: {unseen_because}; reads overlap" if unseen_because else "open ones can be seen"

    def _find_lag(self) -> str:
        moment = self._source_moment
        if moment.halted_because:
            raise ConfigurationError(moment.halted_because, remedy="start replication, or read from the primary")
        if moment.replayed_until is None:
            return "a replica, or one of a cluster" if "this server" in moment.unseen_because else "the primary"
        behind = max(moment.read_at - moment.replayed_until, timedelta(0))
        if self.kind.has_replayed_all and self._ask(self.kind.has_replayed_all):
            behind = timedelta(0)
        if behind > LAG_LIMIT:
            raise ConfigurationError(
                f"a replica that is {whole_seconds(behind)} behind its primary",
                remedy=f"name the primary's host in {self.server.variable}, or find out what holds replication up",
            )
        return f"a replica, {whole_seconds(behind)} behind its primary"

    def _compare_clocks(self) -> str:
        return compare_clocks(self._source_moment.read_at, self.server.place)

    @cached_property
    def _source_moment(self) -> SourceMoment:
        """What the server tells a read before its snapshot."""
        with self.kind.driver.translate_errors(self.server.place), closing(self.connect()) as connection:
            return self.kind.driver.open_snapshot(connection, self.connect)

    def _ask(self, query: str) -> Any:
        """Return the first value of the first row; None if there is no row."""
        with self.kind.driver.translate_errors(self.server.place), closing(self.connect()) as connection:
            with connection.cursor() as cursor:
                cursor.execute(query)
                row = cursor.fetchone()
            return row[0] if row else None


def compare_clocks(read_at: datetime, place: str) -> str:
    """Return how far the clock of a server is from this machine's. Raises ConfigurationError beyond a minute."""
    difference = read_at - datetime.now(UTC)
    direction = "ahead of" if difference > timedelta(0) else "behind"
    found = f"{abs(difference).total_seconds():.1f} s {direction} this machine's"
    if abs(difference) > CLOCK_LIMIT:
        raise ConfigurationError(
            f"the clock of {place} is {found}", remedy="set the clock that is wrong (`chronyc tracking` tells)"
        )
    return found
