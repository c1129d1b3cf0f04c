"""A small table of notes in the Postgres source, and its stream."""

from __future__ import annotations

from datetime import timedelta

from millrace import Incremental, Stream
from tests.support.engine import Engine

NOTES = Stream("notes", source="postgres:public.notes", key="id", capture=Incremental("changed", overlap=timedelta(0)))
"""Without overlap: what only an overlap would bring does not arrive."""


def create_notes(engine: Engine, rows: int, table: str = "notes") -> None:
    """Create the table with the rows 1, 2, …"""
    engine.source(
        f"CREATE TABLE {table} (id int PRIMARY KEY, body text, changed timestamptz DEFAULT clock_timestamp()); "
        f"INSERT INTO {table} SELECT i, '{table} ' || i FROM generate_series(1, {rows}) AS i"
    )
