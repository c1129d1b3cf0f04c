"""What one load mode does and others do not, on either warehouse. What holds for all is in tests/extending."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from millrace import Append, Incremental, Replace, Scd2, Snapshot, Stream
from millrace.base.errors import ConfigurationError
from millrace.warehouse.ledger.load_result import LoadResult
from tests.support.engine import Engine

Row = tuple[Any, ...]
NO_OVERLAP = timedelta(0)
INCREMENTAL = Stream(
    "items", "postgres:public.items", "id", Incremental("stamp", NO_OVERLAP), sweep="every run", max_reject_share=0.9
)
SNAPSHOT = replace(INCREMENTAL, capture=Snapshot(), sweep="")


APPENDED = replace(INCREMENTAL, load=Append())
REPLACED = replace(SNAPSHOT, key="", load=Replace())
FIRST = [(1, "one"), (2, "two"), (3, "three")]


def fill(engine: Engine) -> None:
    engine.source(
        "CREATE TABLE items (id int, name text, amount numeric, stamp timestamptz DEFAULT clock_timestamp()); "
        "INSERT INTO items (id, name) VALUES (1, 'one'), (2, 'two'), (3, 'three')"
    )


async def run(engine: Engine, stream: Stream) -> LoadResult:
    result = await engine.run(stream)
    assert result is not None
    assert result.read == result.loaded + result.unchanged + result.rejected
    return result


def rows(engine: Engine, *columns: str) -> list[Row]:
    return sorted(engine.rows("items", *(columns or ("id", "name"))), key=repr)


def counts(result: LoadResult) -> Row:
    return result.inserted, result.updated, result.deleted


async def test_what_was_appended_and_changes_is_told(either: Engine) -> None:
    fill(either)
    await run(either, APPENDED)
    either.source("UPDATE items SET name = 'zwei', stamp = clock_timestamp() WHERE id = 2")
    result = await run(either, APPENDED)
    assert [one for one in result.warnings if one.startswith("1 rows differ from what was appended before")]
    assert rows(either) == sorted(FIRST, key=repr)


async def test_replace_counts_equal_rows_and_empties_a_table(either: Engine) -> None:
    fill(either)
    either.source("INSERT INTO items (id, name, stamp) SELECT 7, 'same', '2024-03-01' FROM generate_series(1, 3)")
    assert counts(await run(either, REPLACED)) == (6, 0, 0)
    either.source("DELETE FROM items WHERE ctid = (SELECT max(ctid) FROM items)")
    assert counts(await run(either, REPLACED)) == (0, 0, 1)
    assert rows(either).count((7, "same")) == 2
    either.source("DELETE FROM items")
    assert counts(await run(either, REPLACED)) == (0, 0, 5)
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
