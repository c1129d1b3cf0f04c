"""The conformance of load modes: each × insert, update, delete, rerun, schema change, bad row, on either warehouse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from engine_on_servers import PIPELINE, Engine

from millrace import Append, Incremental, Merge, Replace, Scd2, Snapshot, Stream
from millrace.base.errors import ConfigurationError
from millrace.warehouse.ledger.load_result import LoadResult

Row = tuple[Any, ...]
NO_OVERLAP = timedelta(0)
INCREMENTAL = Stream(
    "items", "postgres:public.items", "id", Incremental("stamp", NO_OVERLAP), sweep="every run", max_reject_share=0.9
)
SNAPSHOT = replace(INCREMENTAL, capture=Snapshot(), sweep="")


@dataclass(frozen=True)
class Case:
    """A mode and what it leaves of the rows (id, name) after each step; ``counts`` are inserted, updated, deleted."""

    stream: Stream
    updated: Sequence[Row]
    update_counts: Row
    deleted: Sequence[Row]
    delete_counts: Row


FIRST = [(1, "one"), (2, "two"), (3, "three")]
CASES = {
    "append": Case(
        replace(INCREMENTAL, load=Append()),
        [*FIRST, (4, "four")],
        (1, 0, 0),
        [*FIRST, (4, "four")],
        (0, 0, 0),
    ),
    "merge": Case(
        replace(INCREMENTAL, load=Merge()),
        [(1, "one"), (2, "zwei"), (3, "three"), (4, "four")],
        (1, 1, 0),
        [(2, "zwei"), (3, "three"), (4, "four")],
        (0, 0, 1),
    ),
    "merge soft": Case(
        replace(INCREMENTAL, load=Merge(), deletes="soft"),
        [(1, "one"), (2, "zwei"), (3, "three"), (4, "four")],
        (1, 1, 0),
        [(1, "one"), (2, "zwei"), (3, "three"), (4, "four")],
        (0, 0, 1),
    ),
    "merge snapshot": Case(
        replace(SNAPSHOT, load=Merge()),
        [(1, "one"), (2, "zwei"), (3, "three"), (4, "four")],
        (1, 1, 0),
        [(2, "zwei"), (3, "three"), (4, "four")],
        (0, 0, 1),
    ),
    "scd2": Case(
        replace(INCREMENTAL, load=Scd2("item_key", effective_from="stamp")),
        [(1, "one"), (2, "two"), (2, "zwei"), (3, "three"), (4, "four")],
        (1, 1, 0),
        [(1, "one"), (2, "two"), (2, "zwei"), (3, "three"), (4, "four")],
        (0, 0, 1),
    ),
    "scd2 snapshot": Case(
        replace(SNAPSHOT, load=Scd2("item_key", untracked=["stamp"])),
        [(1, "one"), (2, "two"), (2, "zwei"), (3, "three"), (4, "four")],
        (1, 1, 0),
        [(1, "one"), (2, "two"), (2, "zwei"), (3, "three"), (4, "four")],
        (0, 0, 1),
    ),
    "replace": Case(
        replace(SNAPSHOT, key="", load=Replace()),
        [(1, "one"), (2, "zwei"), (3, "three"), (4, "four")],
        (2, 0, 1),
        [(2, "zwei"), (3, "three"), (4, "four")],
        (0, 0, 1),
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def fill(engine: Engine) -> None:
    engine.source(
        "CREATE TABLE items (id int, name text, amount numeric, stamp timestamptz DEFAULT clock_timestamp()); "
        "INSERT INTO items (id, name) VALUES (1, 'one'), (2, 'two'), (3, 'three')"
    )


async def run(engine: Engine, case: Case) -> LoadResult:
    result = await engine.run(case.stream)
    assert result is not None
    assert result.read == result.loaded + result.unchanged + result.rejected
    return result


def rows(engine: Engine, *columns: str) -> list[Row]:
    return sorted(engine.rows("items", *(columns or ("id", "name"))), key=repr)


def counts(result: LoadResult) -> Row:
    return result.inserted, result.updated, result.deleted


@pytest.mark.both_warehouses
async def test_every_mode(either: Engine, case: Case) -> None:
    fill(either)
    assert counts(await run(either, case)) == (3, 0, 0)
    assert rows(either) == sorted(FIRST, key=repr)
    either.source("INSERT INTO items (id, name) VALUES (4, 'four')")
    either.source("UPDATE items SET name = 'zwei', stamp = clock_timestamp() WHERE id = 2")
    result = await run(either, case)
    assert counts(result) == case.update_counts
    assert rows(either) == sorted(case.updated, key=repr)
    either.source("DELETE FROM items WHERE id = 1")
    assert counts(await run(either, case)) == case.delete_counts
    assert rows(either) == sorted(case.deleted, key=repr)

    before = either.query(f"SELECT * FROM {PIPELINE}.items ORDER BY 1, 2")
    assert counts(await run(either, case)) == (0, 0, 0)
    again = either.load(case.stream, either.batches[-2])
    assert again.was_applied_before
    assert either.query(f"SELECT * FROM {PIPELINE}.items ORDER BY 1, 2") == before, "a rerun changes nothing"


@pytest.mark.both_warehouses
async def test_every_mode_takes_a_new_column_and_a_wider_one(either: Engine, case: Case) -> None:
    fill(either)
    await run(either, case)
    long = "x" * 1000
    either.source("ALTER TABLE items ADD COLUMN colour text; ALTER TABLE items ALTER COLUMN id TYPE bigint")
    either.source(f"INSERT INTO items (id, name, colour) VALUES (5000000000, '{long}', 'red')")
    result = await run(either, case)
    assert counts(result) == (1, 0, 0), "rows in which a new column is NULL are as they were"
    expected = [*((*row, None) for row in FIRST), (5_000_000_000, long, "red")]
    assert rows(either, "id", "name", "colour") == sorted(expected, key=repr)


async def test_every_mode_keeps_what_is_good(either: Engine, case: Case) -> None:
    fill(either)
    either.source("UPDATE items SET amount = 'NaN' WHERE id = 3")
    result = await run(either, case)
    assert (result.rejected, result.inserted) == (1, 2)
    assert rows(either) == sorted(FIRST[:2], key=repr)
    either.source("UPDATE items SET amount = NULL, stamp = clock_timestamp() WHERE id = 3")
    assert (await run(either, case)).inserted == 1
    assert rows(either) == sorted(FIRST, key=repr)


async def test_what_was_appended_and_changes_is_told(either: Engine) -> None:
    case = CASES["append"]
    fill(either)
    await run(either, case)
    either.source("UPDATE items SET name = 'zwei', stamp = clock_timestamp() WHERE id = 2")
    result = await run(either, case)
    assert [one for one in result.warnings if one.startswith("1 rows differ from what was appended before")]
    assert rows(either) == sorted(FIRST, key=repr)


async def test_replace_counts_equal_rows_and_empties_a_table(either: Engine) -> None:
    case = CASES["replace"]
    fill(either)
    either.source("INSERT INTO items (id, name, stamp) SELECT 7, 'same', '2024-03-01' FROM generate_series(1, 3)")
    assert counts(await run(either, case)) == (6, 0, 0)
    either.source("DELETE FROM items WHERE ctid = (SELECT max(ctid) FROM items)")
    assert counts(await run(either, case)) == (0, 0, 1)
    assert rows(either).count((7, "same")) == 2
    either.source("DELETE FROM items")
    assert counts(await run(either, case)) == (0, 0, 5)
    assert rows(either) == []


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ({"key": ""}, "no key is declared"),
        ({"load": Replace()}, "Replace needs the whole table"),
        ({"load": Scd2("item_key", effective_from="stamp", changes=True)}, "are states, not changes"),
    ],
)
def test_a_mode_that_does_not_fit_is_refused(wrong: dict[str, Any], because: str) -> None:
    with pytest.raises(ConfigurationError, match=because):
        replace(INCREMENTAL, **wrong)


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ({"surrogate": "Key"}, "'Key' is no name"),
        ({"surrogate": "end_date"}, "two of its columns"),
        ({"effective_from": "start_date"}, "two of its columns"),
        ({"gap": timedelta(seconds=-1)}, "gap is datetime.timedelta"),
        ({"changes": True}, "changes need the column"),
    ],
)
def test_a_wrong_scd2_is_refused(wrong: dict[str, Any], because: str) -> None:
    with pytest.raises(ConfigurationError, match=because):
        Scd2(**({"surrogate": "item_key"} | wrong))
