"""A Postgres source that may be read by its change log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.stack import Stack
from tests.support.engine import Engine, database_of

DROP_SLOTS = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{}'"


@pytest.fixture
def logged(either: Engine, stack: Stack) -> Iterator[Engine]:
    """The engine, of which the user of the source may read the change log. Slots are dropped afterwards."""
    name = database_of(either.postgres_url)
    stack.postgres.execute(f"ALTER ROLE {name} REPLICATION")
    yield either
    stack.postgres.execute(DROP_SLOTS.format(name))
    stack.postgres.execute(f"ALTER ROLE {name} NOREPLICATION")
