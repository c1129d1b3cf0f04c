"""The simulated back office of the pipeline `totesys`, and the warehouse that follows it.

What does not belong here: how its rows get there (by flows: tests/flows; by the engine: tests/millrace/models).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2

from local.demos import totesys_source
from local.demos.totesys_star import StarCompared, compare_star
from local.postgres import PostgresServer
from millrace.pipelines.totesys import pipeline
from millrace.seed_data.totesys.simulation import TotesysSimulation, install
from tests.conftest import unique

FIRST_DAY = datetime(2026, 10, 5, tzinfo=UTC)
FILLED_DAYS = 3
STREAMS = [stream.name for stream in pipeline.streams]


@dataclass(frozen=True)
class Office:
    """A back office in its life, and the warehouse that follows it."""

    source: Any
    simulation: TotesysSimulation
    source_url: str
    reader_url: str
    warehouse_url: str

    def live(self, **span: float) -> None:
        """Let simulated time pass, counted from the end of the history."""
        self.simulation.advance(FIRST_DAY + timedelta(days=FILLED_DAYS) + timedelta(**span))

    def change(self, statement: str) -> None:
        """By hand, as the application would."""
        with self.source, self.source.cursor() as cursor:
            cursor.execute(statement)

    def warehouse(self, statement: str) -> list[tuple[Any, ...]]:
        """Run SQL in the warehouse; rows if there are any."""
        with closing(self._warehouse()) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def compare(self) -> StarCompared:
        """With the second computation."""
        return compare_star(lambda: psycopg2.connect(self.source_url), self._warehouse)

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of replica and star."""
        tables = [f"totesys_source.{name}" for name in STREAMS]
        tables += [f"totesys.{model.name}" for model in pipeline.models]
        return {table: sorted(self.warehouse(f"SELECT * FROM {table}"), key=repr) for table in tables}

    def _warehouse(self) -> Any:
        return psycopg2.connect(self.warehouse_url.replace("redshift+psycopg2", "postgresql"))


@contextmanager
def open_office(postgres: PostgresServer, warehouse_url: str) -> Iterator[Office]:
    """An office with three days of history in a database of its own."""
    database = unique("totesys")
    totesys_source.install(postgres, database)
    url, reader_url = (postgres.url(database, user=user) for user in (totesys_source.WRITER, totesys_source.READER))
    with closing(psycopg2.connect(url)) as source:
        install(source)
        simulation = TotesysSimulation(source, 1, FIRST_DAY.date(), silent_rate=100)
        simulation.fill(FILLED_DAYS)
        source.commit()
        yield Office(source, simulation, url, reader_url, warehouse_url)
    postgres.drop_database(database)
