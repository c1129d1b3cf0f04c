"""Tables of MariaDB that streams follow by its change log."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from local.mysql import MySQLServer, connect
from millrace import ChangeLog, Stream
from millrace.warehouse.ledger.load_result import LoadResult
from tests.conftest import unique
from tests.support.engine import Engine
from tests.support.mysql_places import database

COLUMNS = "id int PRIMARY KEY, note text"


@dataclass(frozen=True)
class FollowedRows:
    """A table of five rows, and the stream that follows it."""

    engine: Engine
    server: MySQLServer
    stream: Stream

    @property
    def table(self) -> str:
        """The name of the table, and of its target."""
        return self.stream.name

    async def follow(self) -> LoadResult:
        """Bring the stream to the present; something must have changed."""
        return (await self.engine.follow(self.stream))[self.table]

    async def has_changed(self) -> bool:
        """Bring the stream to the present, and return whether anything was loaded."""
        return bool(await self.engine.follow(self.stream))

    def change(self, *statements: str) -> None:
        """Run statements in the source on one connection, each as it stands; ``{}`` is the table."""
        self.engine.mysql(*(statement.replace("{}", self.table) for statement in statements))

    def change_as_superuser(self, *statements: str) -> None:
        """Run statements on a connection of the superuser in the database."""
        with closing(connect(self.server.url(database(self.engine)))) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement.replace("{}", self.table))

    def assert_equal(self, columns: Sequence[str] = ("id", "note")) -> None:
        """The target holds what the source holds."""
        expected = self.engine.mysql(f"SELECT {', '.join(columns)} FROM {self.table} ORDER BY 1, 2")
        assert self.engine.rows(self.table, *columns, order="1, 2") == expected

    def with_stream(self, **fields: object) -> FollowedRows:
        """The same table, with a stream that declares something else."""
        return replace(self, stream=replace(self.stream, **fields))  # type: ignore[arg-type]  # fields of a stream


def make_followed(
    engine: Engine, server: MySQLServer, columns: str = COLUMNS, key: str | Sequence[str] = "id"
) -> FollowedRows:
    """Create a table with five rows, or an empty one of other columns."""
    name = unique("rows")
    engine.mysql(f"CREATE TABLE {name} ({columns})")
    if columns == COLUMNS:
        engine.mysql(f"INSERT INTO {name} SELECT seq, 'first' FROM seq_1_to_5")
    stream = Stream(name, f"mysql:{database(engine)}.{name}", key, ChangeLog(), max_delete_share=1.0)
    return FollowedRows(engine, server, stream)
