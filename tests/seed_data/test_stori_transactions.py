"""txns.csv into Postgres: exact, once per file, whole or not at all; bad records kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from millrace.base.errors import ConfigurationError, SourceMissing, Unreachable
from millrace.seed_data.stori import transaction_file
from millrace.seed_data.stori.generate import generate_transactions
from millrace.seed_data.stori.outcome import Outcome
from millrace.seed_data.stori.transactions import import_transactions, install_source
from tests.seed_data.directory_store import DirectoryStore
from tests.seed_data.whole_file import read_whole

WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
RECORD = "account_no, date, transaction_details, chip_used, value_date, withdrawal_amt, deposit_amt, balance_amt"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    generate_transactions(tmp_path / "txns.csv", rows=500, seed=3)
    return tmp_path / "txns.csv"


def rows(connection: Any, query: str, *values: object) -> list[tuple[Any, ...]]:
    with connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall() if cursor.description else []


def until(condition: Callable[[], list[tuple[Any, ...]]], task: Future[Any]) -> list[tuple[Any, ...]]:
    """What the condition finds, as soon as it finds something."""
    while not (found := condition()):
        if task.done():
            raise AssertionError("ended without waiting") from task.exception()
    return found


def test_the_table_equals_the_file(postgres: Any, path: Path, store: DirectoryStore) -> None:
    assert import_transactions(postgres, path, store) == Outcome("txns.csv", imported=500)
    assert rows(postgres, f"SELECT {RECORD} FROM transactions ORDER BY transaction_no") == (
        read_whole(path).accepted.rows()
    )
    assert rows(postgres, "SELECT min(transaction_no), max(transaction_no) FROM transactions") == [(1, 500)]


def test_importing_a_file_twice_changes_nothing(postgres: Any, path: Path, store: DirectoryStore) -> None:
    import_transactions(postgres, path, store)
    before = rows(postgres, "SELECT * FROM transactions ORDER BY 1")
    renamed = path.rename(path.with_name("again.csv"))
    assert import_transactions(postgres, renamed, store) == Outcome("again.csv", unchanged=500)
    assert rows(postgres, "SELECT * FROM transactions ORDER BY 1") == before


def test_of_two_imports_at_once_one_copies(
    postgres: Any, postgres_database: str, path: Path, store: DirectoryStore
) -> None:
    def run() -> Outcome:
        with closing(psycopg2.connect(postgres_database)) as connection:
            return import_transactions(connection, path, store)

    with closing(psycopg2.connect(postgres_database)) as blocker, ThreadPoolExecutor(2) as threads:
        blocker.cursor().execute("LOCK TABLE transactions")
        tasks = [threads.submit(run) for _ in range(2)]
        while len(rows(postgres, WAITING)) < 2:
            pass
        blocker.rollback()
        imported = sorted(task.result().imported for task in tasks)
    assert imported == [0, 500]
    assert rows(postgres, "SELECT count(*) FROM transactions") == [(500,)]


def test_a_crash_half_way_leaves_nothing_and_the_next_import_everything(
    postgres: Any, postgres_database: str, path: Path, store: DirectoryStore
) -> None:
    with (
        closing(psycopg2.connect(postgres_database)) as blocker,
        closing(psycopg2.connect(postgres_database)) as victim,
        ThreadPoolExecutor(1) as threads,
    ):
        blocker.cursor().execute("LOCK TABLE transactions")
        task = threads.submit(import_transactions, victim, path, store)
        [(process,)] = until(lambda: rows(postgres, WAITING), task)
        rows(postgres, "SELECT pg_terminate_backend(%s)", process)
        with pytest.raises(Unreachable):
            task.result()
    assert rows(postgres, "SELECT count(*) FROM imported_files") == [(0,)]
    assert import_transactions(postgres, path, store).imported == 500


def test_bad_records_are_kept_and_the_others_go_in(postgres: Any, path: Path, store: DirectoryStore) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write('7,29-Jun-17,"a\nb",true,29-Jun-17,1,2, 3.00 \n7,1-Jan-17,x,true,1-Jan-17,1,,3\n')
    outcome = import_transactions(postgres, path, store)
    assert (outcome.read, outcome.imported, outcome.rejected) == (502, 501, 1)
    [reject] = map(json.loads, store.get_bytes(outcome.rejects_key).splitlines())
    line = path.read_text(encoding="utf-8").split("\n").index('7,29-Jun-17,"a') + 1
    assert (reject["file"], reject["line"], reject["reasons"]) == ("txns.csv", line, ["exactly_one_amount"])
    assert (reject["transaction_details"], reject["balance_amt"]) == ("a\nb", " 3.00 ")
    assert rows(postgres, "SELECT rows, rejected FROM imported_files") == [(501, 1)]
    assert import_transactions(postgres, path, store).rejects_key == outcome.rejects_key


def test_a_file_with_a_header_only_imports_nothing(postgres: Any, tmp_path: Path, store: DirectoryStore) -> None:
    generate_transactions(tmp_path / "txns.csv", rows=0)
    assert import_transactions(postgres, tmp_path / "txns.csv", store) == Outcome("txns.csv")


def test_what_is_no_csv_imports_nothing_even_if_that_shows_late(
    postgres: Any, path: Path, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction_file, "_PIECE_RECORDS", 100)
    with path.open("a", encoding="utf-8") as file:
        file.write('1,29-Jun-17,"never closed')
    with pytest.raises(ConfigurationError, match="a quote that is not closed"):
        import_transactions(postgres, path, store)
    assert rows(postgres, "SELECT * FROM transactions") == []
    assert rows(postgres, "SELECT * FROM imported_files") == []
    assert not store.directory.exists()


def test_a_missing_table_is_named(postgres_database: str, path: Path, store: DirectoryStore) -> None:
    with closing(psycopg2.connect(postgres_database)) as connection, pytest.raises(SourceMissing, match="transactions"):
        import_transactions(connection, path, store)


def test_installing_the_source_again_changes_nothing(postgres: Any, path: Path, store: DirectoryStore) -> None:
    import_transactions(postgres, path, store)
    install_source(postgres)
    assert rows(postgres, "SELECT count(*) FROM transactions") == [(500,)]


def test_the_stamps_of_a_row_grow_even_when_transactions_overtake_each_other(
    postgres: Any, postgres_database: str, path: Path, store: DirectoryStore
) -> None:
    import_transactions(postgres, path, store)
    with closing(psycopg2.connect(postgres_database)) as early:
        early.cursor().execute("SELECT now()")
        update = "UPDATE transactions SET balance_amt = %s WHERE transaction_no = 1 RETURNING updated_at, created_at"
        [(first, created)] = rows(postgres, update, Decimal(1))
        [(second, _)] = rows(early, update, Decimal(2))
    assert created < first < second


def test_the_table_itself_refuses_two_amounts(postgres: Any) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation):
        rows(postgres, f"INSERT INTO transactions ({RECORD}) VALUES (1, now(), '', true, now(), 1, 2, 3)")
