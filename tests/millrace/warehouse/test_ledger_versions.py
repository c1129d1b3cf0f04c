"""A ledger of an earlier version goes on in place: upgraded once, by whichever run comes first, and nothing of it lost.

``ledger_of_413b178`` is what the program of that commit (version 1) left in a warehouse and a lake.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from local.stack import Stack
from millrace.base.errors import ConfigurationError
from millrace.lake.manifest import read_manifest
from millrace.warehouse.ledger import versions
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.versions import VERSION, read_version, upgrade
from tests.support.engine import Engine, pipeline_of
from tests.support.notes import NOTES

OLD = Path(__file__).parent / "ledger_of_413b178"
PENDING = "engine/notes/2025/11/30/20251130T075626.275071Z-5dc338aa/batch.json"
SOURCE = (
    "CREATE TABLE notes (id int PRIMARY KEY, body text, amount numeric(19,4), due date, changed timestamptz); "
    "INSERT INTO notes VALUES (1, 'one', 1.5, '2026-01-01', '2026-11-01+00'), "
    "(2, 'zwei – ü', 999999999999999.9999, NULL, '2026-11-02+00'), (3, NULL, NULL, 'infinity', '2026-11-03+00')"
)


def install(engine: Engine) -> None:
    """The warehouse and the lake as they were, and their source."""
    engine.source(SOURCE)
    rows = (OLD / "rows.sql").read_text()
    if engine.warehouse.dialect.measures_text:
        # Redshift holds the greatest amount in 20 digits only.
        rows = rows.replace("{text}", "VARCHAR(256)").replace("NUMERIC(19, 4)", "NUMERIC(20, 4)")
    engine.query((OLD / "ledger.sql").read_text())
    engine.query(rows.replace("{text}", "TEXT"))
    lake = OLD / "lake"
    for path in (path for path in lake.rglob("*") if path.is_file()):
        engine.store.put_bytes(path.read_bytes(), str(path.relative_to(lake)))


def version(engine: Engine) -> int:
    with closing(engine.connect_warehouse()) as connection:
        return read_version(connection)


async def test_a_stream_goes_on_from_the_position_that_an_earlier_version_left(either: Engine) -> None:
    install(either)
    assert version(either) == 1
    either.source("INSERT INTO notes VALUES (4, 'new', 4, NULL, clock_timestamp())")
    result = await either.deliver(NOTES)
    assert result is not None
    assert either.batches[-1].progress.lower == "2025-11-30T07:56:25.783037+00:00"
    assert (result.inserted, result.updated, version(either)) == (1, 0, VERSION)
    assert either.query("SELECT max(token) FROM millrace.batches") == [(3,)], "tokens go on as well"
    assert either.query("SELECT pipeline, member FROM millrace.forms") == [("engine", "notes")]


async def test_a_sweep_of_rows_that_an_earlier_version_loaded_finds_them_unchanged(either: Engine) -> None:
    install(either)
    either.source("UPDATE notes SET due = '2026-02-02' WHERE id = 3")
    result = await either.sweep(NOTES)
    assert result is not None
    assert (result.read, result.inserted, result.unchanged) == (3, 1, 2), "hashes are as they were"
    assert either.query("SELECT count(*) FROM millrace.rejects WHERE closed_by IS NULL") == [(0,)]


async def test_a_replay_finds_the_rejects_of_an_earlier_version(engine: Engine) -> None:
    install(engine)
    engine.source("UPDATE notes SET due = '2026-02-02' WHERE id = 3")
    result = await engine.replay(NOTES)
    assert result is not None
    assert (result.read, result.inserted) == (1, 1)
    assert engine.rows("notes", "id") == [(1,), (2,), (3,)]


def test_a_batch_that_an_earlier_version_landed_is_loaded(either: Engine) -> None:
    install(either)
    result = either.load(NOTES, read_manifest(either.store, PENDING))
    assert (result.inserted, result.updated) == (1, 1)
    assert either.rows("notes", "id", "body") == [(1, "uno"), (2, "zwei – ü"), (4, "four")]


def test_what_an_earlier_version_recorded_can_be_read_before_the_upgrade(engine: Engine) -> None:
    """A plan changes nothing, so it reads the ledger as it is."""
    install(engine)
    pipeline = pipeline_of(NOTES)
    assert engine.warehouse.find_state(pipeline, NOTES).position == "2025-11-30T07:56:25.783037+00:00"
    assert [one.reason for one in engine.warehouse.list_open_rejects(pipeline, NOTES)] == ["infinite_date"]
    assert version(engine) == 1


def test_a_new_ledger_has_the_version_of_the_program(either: Engine) -> None:
    assert version(either) == 0
    for _ in range(2):
        with closing(either.connect_warehouse()) as connection:
            upgrade(connection)
    assert either.query("SELECT version FROM millrace.version") == [(VERSION,)]


def test_a_crash_in_the_middle_of_an_upgrade_leaves_the_version_that_was_there(
    either: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(either)
    monkeypatch.setattr(versions, "STEPS", [*versions.STEPS[:-1], versions.STEPS[-1] + "SELECT 1/0"])
    with closing(either.connect_warehouse()) as connection, pytest.raises(psycopg2.Error):
        upgrade(connection)
    assert version(either) == 1
    monkeypatch.undo()
    with closing(either.connect_warehouse()) as connection:
        upgrade(connection)
    assert version(either) == VERSION


def test_two_runs_that_upgrade_at_once_do_it_once(either: Engine) -> None:
    """The second one waits at the lock of the first, which has not committed yet."""
    install(either)
    first, second = either.connect_warehouse(), either.connect_warehouse()
    with closing(first), closing(second):
        with first.cursor() as cursor:
            cursor.execute("LOCK TABLE millrace.batches")
        assert read_version(second) == 1
        upgrading = in_thread(lambda: upgrade(second))
        upgrading.join(0.2)
        assert upgrading.is_alive()
        upgrade(first)
        upgrading.join(30)
    assert either.query("SELECT version FROM millrace.version") == [(VERSION,)]


def test_a_newer_ledger_is_refused_with_the_remedy(either: Engine) -> None:
    with closing(either.connect_warehouse()) as connection:
        upgrade(connection)
    either.query(f"INSERT INTO millrace.version VALUES ({VERSION + 1}, '2030-01-01+00')")
    refusal = rf"has version {VERSION + 1}.*versions up to {VERSION}.*Remedy: run the version of Millrace"
    with pytest.raises(ConfigurationError, match=refusal):
        either.warehouse.list_open_rejects(pipeline_of(NOTES), NOTES)
    with (
        pytest.raises(ConfigurationError, match=refusal),
        either.warehouse.lease(pipeline_of(NOTES), NOTES, "run A"),
    ):
        pass


def test_a_user_who_may_not_upgrade_is_told_who_can(stack: Stack, postgres_engine: Engine) -> None:
    install(postgres_engine)
    database = postgres_engine.query("SELECT current_database()")[0][0]
    with closing(psycopg2.connect(stack.postgres.url(database))) as admin, admin, admin.cursor() as cursor:
        for table in ("leases", "columns", "rejects", "collected", "batches"):
            cursor.execute(f"ALTER TABLE millrace.{table} OWNER TO CURRENT_USER")
            cursor.execute(f"GRANT ALL ON millrace.{table} TO PUBLIC")
        cursor.execute("ALTER SCHEMA millrace OWNER TO CURRENT_USER")
        cursor.execute("GRANT USAGE ON SCHEMA millrace TO PUBLIC")
    told = r"must be upgraded from version 1 to \d+.*as the user that owns the schema millrace"
    with closing(postgres_engine.connect_warehouse()) as connection, pytest.raises(ConfigurationError, match=told):
        Ledger(connection).ensure()


def test_a_ledger_whose_new_tables_a_user_may_not_read_is_not_taken_for_an_old_one(
    stack: Stack, postgres_engine: Engine
) -> None:
    """It would be read without what the new tables say."""
    with closing(postgres_engine.connect_warehouse()) as connection:
        upgrade(connection)
    database = postgres_engine.query("SELECT current_database()")[0][0]
    with closing(psycopg2.connect(stack.postgres.url(database))) as admin, admin, admin.cursor() as cursor:
        for table in ("version", "sources"):
            cursor.execute(f"ALTER TABLE millrace.{table} OWNER TO CURRENT_USER")
    with pytest.raises(ConfigurationError, match="permission denied for table version"):
        postgres_engine.warehouse.list_open_rejects(pipeline_of(NOTES), NOTES)


def in_thread(step: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=step, daemon=True)
    thread.start()
    return thread
