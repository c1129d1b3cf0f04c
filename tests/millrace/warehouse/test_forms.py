"""What a table was made by is recorded, and a declaration of another form is told, made exactly, or refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from millrace import Append, History, Incremental, Merge, Model, Pipeline, Replace, Scd2, Snapshot, Stream
from millrace.base.errors import SchemaConflict
from millrace.declaration.load_mode_base import LoadMode
from millrace.runs.choose import ReadRequest
from tests.support.engine import Engine, Together, counts

ITEMS = Stream("items", "postgres:public.items", "id", Incremental("stamp", timedelta(0)), sweep="every run")
VERSIONED = Scd2("item_key", effective_from="stamp")
FULL = ReadRequest("full")


class Item(dy.Schema):
    """Of a number."""

    id = dy.Int64(nullable=False)
    name = dy.String(nullable=True)
    stamp = dy.Datetime(nullable=False)


def item(items: pl.DataFrame) -> pl.DataFrame:
    """As they are."""
    return items.select("id", "name", "stamp")


class Twice(Item):
    """With another number."""

    other_id = dy.Int64(nullable=False)


def twice() -> Any:
    def item(items: pl.DataFrame) -> pl.DataFrame:
        return items.select("id", "name", "stamp", other_id="id")

    return item


ITEM = Model(item, Item, "id")
SHOP = Pipeline("shop", streams=[ITEMS], schema="shop_source", models=[ITEM])


def shop(load: LoadMode, **declared: Any) -> Pipeline:
    return replace(SHOP, models=[replace(ITEM, load=load, **declared)])


def fill(engine: Engine) -> None:
    engine.source(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text, stamp timestamp); "
        "INSERT INTO items VALUES (1, 'one', '2024-03-01'), (2, 'two', '2024-03-01')"
    )


def change(engine: Engine, day: int) -> None:
    engine.source(f"UPDATE items SET name = name || '!', stamp = '2024-03-{day:02}' WHERE id = 1")


def content(engine: Engine, table: str = "shop.item") -> list[tuple[Any, ...]]:
    return sorted(engine.query(f"SELECT * FROM {table}"), key=str)


OTHER_MODES: dict[str, tuple[LoadMode, LoadMode, str]] = {
    "merge to history": (Merge(), History("record_id"), "loaded by Merge, and the declaration says load=History"),
    "merge to versions": (Merge(), VERSIONED, "loaded by Merge, and the declaration says load=Scd2"),
    "versions to merge": (VERSIONED, Merge(), "loaded by Scd2, and the declaration says load=Merge"),
    "history to merge": (History("record_id"), Merge(), "loaded by History, and the declaration says load=Merge"),
    "history to versions": (History("record_id"), VERSIONED, "loaded by History.*load=Scd2"),
    "marked rows to append": (Merge(), Append(), "loaded by Merge, and the declaration says load=Append"),
    "other untracked": (VERSIONED, replace(VERSIONED, untracked=["name"]), r"untracked=\[\], .* untracked=\['name'\]"),
    "states to a log": (VERSIONED, replace(VERSIONED, changes=True), "changes=False, .* changes=True"),
    "without a time": (VERSIONED, Scd2("item_key"), "effective_from='stamp', .* effective_from=''"),
    "another beginning": (VERSIONED, replace(VERSIONED, beginning=datetime(1950, 1, 1)), "beginning="),  # noqa: DTZ001 - UTC
}


TOLD_BY_COLUMNS = [
    name for name, (first, then, _) in OTHER_MODES.items() if first.keeps_versions != then.keeps_versions
]


@pytest.mark.parametrize(
    ("case", "is_recorded"), [*((name, True) for name in OTHER_MODES), *((name, False) for name in TOLD_BY_COLUMNS)]
)
async def test_another_load_mode_is_refused_and_nothing_changes(
    on_redshift: Together, case: str, *, is_recorded: bool
) -> None:
    """By a run with a sweep and by a full one; with the former declaration the pipeline goes on. A table that an
    earlier version made, without a record, tells by its columns whether it keeps versions."""
    first, then, refusal = OTHER_MODES[case]
    engine = on_redshift.engine
    fill(engine)
    await on_redshift.run(shop(first))
    if not is_recorded:
        engine.query("DELETE FROM millrace.forms")
        refusal = refusal.replace("by Merge", "by a mode without versions")
    before = content(engine)
    change(engine, 5)
    for read_request in (ReadRequest(), FULL):
        with pytest.raises(SchemaConflict, match=refusal) as refused:
            await on_redshift.run(shop(then), read_request=read_request)
        assert "millrace reload shop item" in refused.value.remedy
        assert "as before" in refused.value.remedy
    assert content(engine) == before
    assert (await on_redshift.run(shop(first)))["item"].loaded == 1


async def test_a_stream_of_another_load_mode_is_refused_before_it_is_compared(either: Engine) -> None:
    fill(either)
    await either.run(ITEMS)
    for read_request in (ReadRequest(), FULL, ReadRequest("sweep")):
        with pytest.raises(SchemaConflict, match=r"loaded by Merge, .* load=Scd2") as refused:
            await either.run(replace(ITEMS, load=VERSIONED), read_request)
    assert "another target, or drop engine.items" in refused.value.remedy
    either.query("DROP TABLE engine.items")
    assert counts(await either.run(replace(ITEMS, load=VERSIONED))) == {"read": 2, "inserted": 2}
    change(either, 5)
    assert counts(await either.run(replace(ITEMS, load=VERSIONED))) == {"read": 2, "updated": 1, "unchanged": 1}


RENAMED = Scd2("key_of_item", effective_from="stamp", start="valid_from", end="valid_to", current="is_valid")


@pytest.mark.both_warehouses
@pytest.mark.parametrize("read_request", [ReadRequest(), FULL], ids=["run", "full"])
async def test_renamed_columns_of_versions_are_renamed_in_the_table(
    together: Together, read_request: ReadRequest
) -> None:
    """Of a model whose stream has nothing to read as well."""
    engine = together.engine
    fill(engine)
    await together.run(shop(VERSIONED))
    before = content(engine)
    told, _ = engine.warehouse.plan(shop(RENAMED), shop(RENAMED).models[0], ITEM.columns)
    assert told == [
        f"rename column {old} of shop.item to {new}"
        for old, new in (
            ("item_key", "key_of_item"),
            ("start_date", "valid_from"),
            ("end_date", "valid_to"),
            ("is_current", "is_valid"),
        )
    ]
    result = await together.run(shop(RENAMED), read_request=read_request)
    assert content(engine) == before
    assert [text for one in result.values() for text in one.changes] == (told if result else [])
    change(engine, 5)
    await together.run(shop(RENAMED), read_request=read_request)
    assert engine.query("SELECT id, name, valid_from, is_valid FROM shop.item ORDER BY 1, 3") == [
        (1, "one", datetime(2024, 3, 1), False),  # noqa: DTZ001 - UTC
        (1, "one!", datetime(2024, 3, 5), True),  # noqa: DTZ001 - UTC
        (2, "two", datetime(2024, 3, 1), True),  # noqa: DTZ001 - UTC
    ]


async def test_renamed_columns_of_a_swept_stream_are_renamed_before_it_is_compared(either: Engine) -> None:
    fill(either)
    await either.run(replace(ITEMS, load=VERSIONED))
    either.source("DELETE FROM items WHERE id = 2")
    await either.run(replace(ITEMS, load=RENAMED))
    assert either.rows("items", "id", "is_valid") == [(1, True), (2, False)]


async def test_a_name_that_the_table_has_already_is_refused(on_redshift: Together) -> None:
    """Start and end cannot be exchanged in one run: nobody could tell whether they were."""
    fill(on_redshift.engine)
    await on_redshift.run(shop(VERSIONED))
    change(on_redshift.engine, 5)
    with pytest.raises(SchemaConflict, match="has a column end_date already"):
        await on_redshift.run(shop(replace(VERSIONED, start="end_date", end="start_date")))


async def test_a_record_id_is_renamed(on_redshift: Together) -> None:
    fill(on_redshift.engine)
    await on_redshift.run(shop(History("record_id")))
    change(on_redshift.engine, 5)
    await on_redshift.run(shop(History("number")))
    assert on_redshift.engine.query("SELECT number FROM shop.item ORDER BY 1") == [(10001,), (10002,), (20001,)]


ENDS = "SELECT name, end_date FROM shop.item ORDER BY 1"


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_another_gap_or_open_end_settles_the_ends_of_all_versions(
    together: Together, *, is_recorded: bool
) -> None:
    """Also of a table whose form is not recorded: by which gap it was made is not known."""
    engine = together.engine
    fill(engine)
    await together.run(shop(replace(VERSIONED, gap=timedelta(seconds=1))))
    change(engine, 5)
    await together.run(shop(replace(VERSIONED, gap=timedelta(seconds=1))))
    if not is_recorded:
        engine.query("DELETE FROM millrace.forms")
    engine.source("INSERT INTO items VALUES (3, 'zero', '2024-03-09')")
    opened = datetime(2999, 1, 1)  # noqa: DTZ001 - UTC
    other = shop(replace(VERSIONED, gap=timedelta(0), open_end=opened))
    result = await together.run(other)
    assert result["item"].changes == ("settle where the versions of shop.item end, by the declared gap and open_end",)
    assert engine.query(ENDS) == [
        ("one", datetime(2024, 3, 5)),  # noqa: DTZ001 - UTC
        *((name, opened) for name in ("one!", "two", "zero")),
    ]
    change(engine, 11)
    assert (await together.run(other))["item"].changes == (), "once"


async def test_an_earlier_table_with_other_names_is_refused_until_its_own_are_recorded(on_redshift: Together) -> None:
    fill(on_redshift.engine)
    await on_redshift.run(shop(VERSIONED))
    on_redshift.engine.query("DELETE FROM millrace.forms")
    change(on_redshift.engine, 5)
    with pytest.raises(SchemaConflict, match=r"has no column key_of_item, valid_from.*not recorded yet.*run once"):
        await on_redshift.run(shop(RENAMED))
    await on_redshift.run(shop(VERSIONED))
    change(on_redshift.engine, 6)
    assert "rename column start_date" in " ".join((await on_redshift.run(shop(RENAMED)))["item"].changes)


@pytest.mark.parametrize(
    ("load", "first", "then"),
    [
        (Merge(), ("id",), ("id", "stamp")),
        (History("record_id"), ("id",), ("other_id",)),
        (Scd2("item_key"), ("id", "stamp"), ("stamp", "id")),
    ],
)
async def test_another_key_is_refused(
    on_redshift: Together, load: LoadMode, first: tuple[str, ...], then: tuple[str, ...]
) -> None:
    """Also one of another order, where versions are numbered by it."""
    fill(on_redshift.engine)
    both = {"function": twice(), "schema": Twice}
    await on_redshift.run(shop(load, key=first, **both))
    change(on_redshift.engine, 5)
    made, declared = (f"the key \\({', '.join(key)}\\)" for key in (first, then))
    with pytest.raises(SchemaConflict, match=f"loaded with {made}, and the declaration says {declared}"):
        await on_redshift.run(shop(load, key=then, **both))


async def test_append_becomes_merge_and_says_what_is_old(on_redshift: Together) -> None:
    """The warning of Append says: declare Merge."""
    engine = on_redshift.engine
    fill(engine)
    await on_redshift.run(shop(Append()))
    change(engine, 5)
    await on_redshift.run(shop(Append()))
    engine.source("UPDATE items SET name = 'zwei', stamp = '2024-03-06' WHERE id = 2")
    result = await on_redshift.run(shop(Merge()))
    assert "stay as they came first until they are read again" in " ".join(result["item"].changes)
    assert engine.query("SELECT name FROM shop.item ORDER BY id") == [("one",), ("zwei",)]
    await on_redshift.run(shop(Merge()), read_request=FULL)
    assert engine.query("SELECT name FROM shop.item ORDER BY id") == [("one!",), ("zwei",)]


class Named(dy.Schema):
    """A name is always there, and there is a length."""

    id = dy.Int64(nullable=False)
    length = dy.UInt32(nullable=True)


async def test_another_result_of_a_model_is_told_with_what_fills_the_rows_that_are_there(together: Together) -> None:
    def item(items: pl.DataFrame) -> pl.DataFrame:
        return items.select("id", length=pl.col("name").str.len_chars())

    engine = together.engine
    fill(engine)
    await together.run(SHOP)
    change(engine, 5)
    other = replace(SHOP, models=[replace(ITEM, function=item, schema=Named)])
    if not engine.warehouse.dialect.drops_not_null:
        with pytest.raises(SchemaConflict, match="has a column stamp that is never NULL"):
            await together.run(other)
        return
    result = (await together.run(other))["item"]
    told = " ".join((*result.changes, *result.warnings))
    assert "NULL in added columns" in told
    assert "let column stamp of shop.item be NULL" in told
    assert "millrace run shop --full" in told
    assert engine.query("SELECT id, length FROM shop.item ORDER BY 1") == [(1, 4), (2, None)]
    await together.run(other, read_request=FULL)
    assert engine.query("SELECT id, length FROM shop.item ORDER BY 1") == [(1, 4), (2, 3)]


async def test_a_plan_says_that_another_load_mode_would_be_refused(on_redshift: Together) -> None:
    fill(on_redshift.engine)
    await on_redshift.run(SHOP)
    other = shop(VERSIONED)
    told, _ = on_redshift.engine.warehouse.plan(other, other.models[0], ITEM.columns)
    assert told == [
        "shop.item was loaded by Merge, and the declaration says load=Scd2: the load would be refused "
        "(declare load as before, or make the table again: `millrace reload shop item`)"
    ]


async def test_a_table_of_an_earlier_version_gets_its_form_with_the_next_load(engine: Engine) -> None:
    fill(engine)
    await engine.run(replace(ITEMS, load=Append()))
    engine.query("DELETE FROM millrace.forms")
    change(engine, 5)
    await engine.run(replace(ITEMS, load=Append()))
    assert engine.query("SELECT pipeline, member FROM millrace.forms") == [("engine", "items")]


async def test_a_replaced_table_is_no_merged_one(engine: Engine) -> None:
    """Rows that a snapshot repeated would be taken for one."""
    fill(engine)
    snapshot = replace(ITEMS, capture=Snapshot(), sweep="")
    await engine.run(replace(snapshot, load=Replace(), key=""))
    change(engine, 5)
    with pytest.raises(SchemaConflict, match="loaded by Replace, and the declaration says load=Merge"):
        await engine.run(snapshot)


WAYS = {
    "states": VERSIONED,
    "log": replace(VERSIONED, changes=True),
    "deletions as versions": replace(VERSIONED, deletes_as_versions=True),
    "log with deletions as versions": replace(VERSIONED, changes=True, deletes_as_versions=True),
}


@pytest.mark.parametrize("load", WAYS.values(), ids=WAYS)
async def test_ends_that_are_settled_again_are_as_they_were_when_they_are_settled_back(
    on_redshift: Together, load: Scd2
) -> None:
    """Of versions that were followed, and of keys that were deleted; also where an open end is NULL."""
    engine = on_redshift.engine
    shown = (
        "SELECT id, name, start_date, end_date, is_current, _deleted_at FROM shop.item ORDER BY id, start_date, name"
    )
    fill(engine)
    await on_redshift.run(shop(load))
    change(engine, 5)
    await on_redshift.run(shop(load))
    engine.source("DELETE FROM items WHERE id = 2; INSERT INTO items VALUES (3, 'three', '2024-03-01')")
    await on_redshift.run(shop(load))
    before = engine.query(shown)
    engine.source("INSERT INTO items VALUES (0, 'zero', '2024-03-09')")
    await on_redshift.run(shop(replace(load, gap=timedelta(days=1), open_end=None)))
    others = [row for row in engine.query(shown) if row[0]]
    assert [row[3] for row in others if row[4]] == [None, None]
    assert all(one[:3] == other[:3] and one[4:] == other[4:] for one, other in zip(before, others, strict=True))
    assert all(one[3] != other[3] for one, other in zip(before, others, strict=True) if one[3] and one[5] is None)
    change(engine, 7)
    engine.source("DELETE FROM items WHERE id = 1")
    await on_redshift.run(shop(load))
    assert [row for row in engine.query(shown) if row[0] in {2, 3}] == [row for row in before if row[0] in {2, 3}]
