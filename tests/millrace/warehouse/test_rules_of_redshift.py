"""What Redshift stores otherwise than Postgres, met by loads: lengths, keys of tables, documents, distribution."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from local.stack import Stack
from millrace import Incremental, Merge, Pipeline, Scd2, Stream
from millrace.base.errors import ConfigurationError, FatalError, KeyViolation
from millrace.base.types import DOCUMENT, INT32, TEXT, Column
from millrace.declaration.load_mode_base import LoadMode
from millrace.warehouse.declared_target import target_of
from millrace.warehouse.dialect import REDSHIFT_DIALECT
from millrace.warehouse.difference import create_changed
from millrace.warehouse.distribution import LARGE_ROWS, distribution_of_batch
from millrace.warehouse.schema.storage import read_storage
from millrace.warehouse.warehouse import Warehouse
from tests.support.engine import Engine, counts
from tests.support.standin_faults import inject

NOTES = Stream("notes", "postgres:public.notes", "id", Incremental("changed", overlap=timedelta(0)))
CONFLICT = "could not complete because of conflict with concurrent transaction"
LOADS = pytest.mark.parametrize("load", [Merge(), Scd2("version_key")], ids=["Merge", "Scd2"])


def lengths(engine: Engine) -> dict[str, int]:
    """Lengths of the columns of the target, as its catalog knows them."""
    return dict(
        engine.query(
            "SELECT a.attname::VARCHAR, a.atttypmod - 4 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
            "WHERE c.relname = 'notes' AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypmod > 4"
        )
    )


def design(engine: Engine) -> tuple[list[str], list[str]]:
    """The distribution key, and the sort key in order."""
    rows = engine.query(
        "SELECT a.attname::VARCHAR, a.attisdistkey, a.attsortkeyord FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid WHERE c.relname = 'notes' AND a.attnum > 0 AND NOT a.attisdropped"
    )
    distributed = [name for name, is_key, _ in rows if is_key]
    return distributed, [name for name, _, number in sorted(rows, key=lambda row: row[2]) if number]


async def test_bytes_grow_in_place(engine: Engine) -> None:
    """The catalog of Redshift tells the length of a VARBYTE in pg_attribute only."""
    engine.source("CREATE TABLE notes (id int, photo bytea, changed timestamptz DEFAULT clock_timestamp())")
    for number, length in enumerate((10, 1_000, 70_000)):
        engine.source(f"INSERT INTO notes (id, photo) VALUES ({number}, convert_to(repeat('x', {length}), 'UTF8'))")
        result = await engine.deliver(NOTES)
        assert result is not None
        assert len(result.changes) == 1
    assert lengths(engine)["photo"] == 131_072
    assert engine.query("SELECT octet_length(photo) FROM engine.notes ORDER BY id") == [(10,), (1_000,), (70_000,)]


@LOADS
async def test_keys_of_several_columns(engine: Engine, load: LoadMode) -> None:
    engine.source("CREATE TABLE notes (a int, b text, v int, changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes (a, b, v) SELECT n % 3, n::text, 0 FROM generate_series(1, 9) AS n")
    stream = replace(NOTES, key=("a", "b"), load=load)
    assert counts(await engine.deliver(stream)) == {"read": 9, "inserted": 9}
    engine.source("UPDATE notes SET v = 1, changed = clock_timestamp() WHERE a = 0")
    assert counts(await engine.deliver(stream)) == {"read": 3, "updated": 3}
    engine.source("DELETE FROM notes WHERE a = 1")
    assert counts(await engine.sweep(stream))["deleted"] == 3


@pytest.mark.parametrize("keys", ["ALTER SORTKEY (v)", "ALTER SORTKEY (changed, v)", "ALTER DISTKEY v"])
async def test_a_column_of_a_key_of_the_table_is_widened(engine: Engine, keys: str) -> None:
    """Redshift drops no column of a sort or distribution key, also of one that it chose itself."""
    engine.source("CREATE TABLE notes (id int, v int, changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes VALUES (1, 1)")
    await engine.deliver(NOTES)
    engine.query(f"ALTER TABLE engine.notes {keys}")
    stored = design(engine)
    engine.source("ALTER TABLE notes ALTER v TYPE bigint; INSERT INTO notes VALUES (2, 9000000000)")
    result = await engine.deliver(NOTES)
    assert result is not None
    assert "widen column v of engine.notes from int32 to BIGINT" in result.changes
    assert engine.rows("notes", "v", order="1") == [(1,), (9_000_000_000,)]
    assert design(engine) == stored


@pytest.mark.standin
async def test_a_key_that_redshift_chose_is_left_to_redshift_again(stack: Stack, engine: Engine) -> None:
    """A column that is widened was the distribution key of a table with DISTSTYLE AUTO."""
    engine.source("CREATE TABLE notes (id int, v int, changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes VALUES (1, 1)")
    await engine.deliver(NOTES)
    engine.query("ALTER TABLE engine.notes ALTER DISTKEY v")
    chosen = "UPDATE standin.design SET is_automatic = true WHERE is_dist_key"
    stack.postgres.execute(chosen, database=stack.warehouse.database)
    table = target_of(Pipeline("engine", streams=[NOTES]), NOTES, REDSHIFT_DIALECT).table
    with closing(engine.connect_warehouse()) as connection:
        storage = read_storage(connection, table)
    assert storage.restore(table, "v") == ('ALTER TABLE "engine"."notes" ALTER DISTSTYLE AUTO',)
    engine.source("ALTER TABLE notes ALTER v TYPE bigint; INSERT INTO notes VALUES (2, 9000000000)")
    await engine.deliver(NOTES)
    assert design(engine) == ([], [])


@pytest.mark.standin
async def test_a_sort_key_that_redshift_chose_is_left_to_redshift_again(stack: Stack, engine: Engine) -> None:
    engine.source("CREATE TABLE notes (id int, v int, changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes VALUES (1, 1)")
    await engine.deliver(NOTES)
    engine.query("ALTER TABLE engine.notes ALTER SORTKEY (v)")
    chosen = "UPDATE standin.design SET is_automatic = true WHERE sort_position > 0"
    stack.postgres.execute(chosen, database=stack.warehouse.database)
    table = target_of(Pipeline("engine", streams=[NOTES]), NOTES, REDSHIFT_DIALECT).table
    while not engine.query("SELECT 1 FROM svv_table_info WHERE \"table\" = 'notes'"):
        Event().wait(0.1)  # Until the statistics of the stand-in know the row.
    with closing(engine.connect_warehouse()) as connection:
        storage = read_storage(connection, table)
    assert storage.restore(table, "v") == ('ALTER TABLE "engine"."notes" ALTER SORTKEY AUTO',)
    engine.source("ALTER TABLE notes ALTER v TYPE bigint; INSERT INTO notes VALUES (2, 9000000000)")
    await engine.deliver(NOTES)
    assert design(engine) == ([], [])


@pytest.mark.standin
async def test_a_widening_that_fails_gives_the_key_back(engine: Engine) -> None:
    engine.source("CREATE TABLE notes (id int, v int, changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes VALUES (1, 1)")
    await engine.deliver(NOTES)
    engine.query("ALTER TABLE engine.notes ALTER SORTKEY (v)")
    engine.source("ALTER TABLE notes ALTER v TYPE bigint; INSERT INTO notes VALUES (2, 9000000000)")
    inject(engine, "update", "error:42501:not today")
    with pytest.raises(ConfigurationError, match="not today"):
        await engine.deliver(NOTES)
    assert design(engine) == ([], ["v"])


async def test_a_text_with_a_dictionary_is_widened(engine: Engine) -> None:
    """Redshift alters the length of no column with the encodings BYTEDICT, RUNLENGTH, TEXT255 and TEXT32K."""
    engine.source("CREATE TABLE notes (id int, note varchar(10), changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes VALUES (1, 'x')")
    await engine.deliver(NOTES)
    engine.query("ALTER TABLE engine.notes ALTER COLUMN note ENCODE bytedict")
    engine.query("ALTER TABLE engine.notes ALTER SORTKEY (note)")
    engine.source("ALTER TABLE notes ALTER note TYPE text; INSERT INTO notes VALUES (2, repeat('y', 300))")
    await engine.deliver(NOTES)
    assert lengths(engine)["note"] == 512
    assert engine.query("SELECT length(note) FROM engine.notes ORDER BY 1") == [(1,), (300,)]
    assert design(engine) == ([], ["note"])


@LOADS
async def test_keys_that_differ_in_blanks_are_told_and_not_merged(engine: Engine, load: LoadMode) -> None:
    engine.source("CREATE TABLE notes (id text, v int, changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes VALUES ('a', 1), ('b', 1)")
    stream = replace(NOTES, load=load)
    await engine.deliver(stream)
    engine.source("INSERT INTO notes VALUES ('a ', 2)")
    with pytest.raises(KeyViolation, match=r"1 keys differ from keys of engine.notes only in trailing blanks.*\(id\)"):
        await engine.deliver(stream)
    assert engine.rows("notes", "id", "v", order="1") == [("a", 1), ("b", 1)]


@pytest.mark.standin
async def test_a_schema_that_is_there_is_not_made(stack: Stack, engine: Engine) -> None:
    """Few administrators grant CREATE on the database."""
    engine.query("CREATE SCHEMA millrace; CREATE SCHEMA engine")
    database = stack.warehouse.database
    stack.postgres.execute(f"REVOKE CREATE ON DATABASE {database} FROM millrace_loader")
    try:
        engine.source("CREATE TABLE notes (id int, changed timestamptz DEFAULT clock_timestamp())")
        engine.source("INSERT INTO notes VALUES (1)")
        assert counts(await engine.deliver(NOTES)) == {"read": 1, "inserted": 1}
    finally:
        stack.warehouse.grant()


async def test_a_document_that_cannot_be_parsed_is_named(engine: Engine) -> None:
    """With limits that are wider than Redshift's."""
    limits = replace(REDSHIFT_DIALECT.limits, document_levels=5_000)
    engine.warehouse = Warehouse(
        engine.connect_warehouse, replace(REDSHIFT_DIALECT, limits=limits), engine.warehouse._iam_role
    )
    engine.source("CREATE TABLE notes (id int, body json, changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes (id, body) VALUES (1, '[1]'), (2, (repeat('[', 1500) || repeat(']', 1500))::json)")
    with pytest.raises(FatalError, match=r"cannot parse documents: column body, rows with _row_hash \d{20,39}\b"):
        await engine.deliver(NOTES)
    assert engine.query("SELECT count(*) FROM millrace.batches") == [(0,)]


async def test_a_document_that_is_too_deep_is_rejected(engine: Engine) -> None:
    engine.source("CREATE TABLE notes (id int, body json, changed timestamptz DEFAULT clock_timestamp())")
    engine.source(
        "INSERT INTO notes (id, body) VALUES (1, '[1]'), (2, (repeat('[', 1500) || repeat(']', 1500))::json), "
        "(3, ('[' || repeat('9', 45) || ']')::json)"
    )
    assert counts(await engine.deliver(NOTES)) == {"read": 3, "inserted": 1, "rejected": 2}


async def test_a_large_table_is_distributed_by_its_key(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.warehouse.distribution.LARGE_ROWS", 10)
    engine.source("CREATE TABLE notes (id int, v int, changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes SELECT n, n FROM generate_series(1, 20) AS n")
    await engine.deliver(NOTES)
    assert design(engine) == (["id"], [])
    engine.source("UPDATE notes SET v = 0, changed = clock_timestamp()")
    assert counts(await engine.deliver(NOTES)) == {"read": 20, "updated": 20}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ([], [])),
        ({"distributed_by": "v", "sorted_by": "changed"}, (["v"], ["changed"])),
        ({"key": ("id", "v")}, ([], [])),
        ({"load": Scd2("version_key"), "distributed_by": "id"}, (["id"], [])),
    ],
    ids=["small", "declared", "several keys", "versions"],
)
async def test_a_table_is_stored_as_declared(
    engine: Engine, options: dict[str, Any], expected: tuple[list[str], list[str]]
) -> None:
    engine.source("CREATE TABLE notes (id int, v int, changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes SELECT n, n FROM generate_series(1, 20) AS n")
    await engine.deliver(replace(NOTES, **options))
    assert design(engine) == expected


def test_temporary_tables_of_a_large_batch_are_distributed_like_their_target() -> None:
    target = target_of(Pipeline("shop", streams=[NOTES]), NOTES, REDSHIFT_DIALECT)
    assert distribution_of_batch(target, LARGE_ROWS - 1) == ""
    assert distribution_of_batch(target, LARGE_ROWS) == ' DISTKEY ("id")'
    assert distribution_of_batch(replace(target, keys=("id", "line")), LARGE_ROWS) == ""
    assert distribution_of_batch(replace(target, keys=("a", "b"), distributed_by="b"), LARGE_ROWS) == ' DISTKEY ("b")'
    changed = create_changed(target, [Column("id", "id", INT32)], None, rows=LARGE_ROWS)
    assert changed.startswith('CREATE TEMPORARY TABLE "millrace_delta" DISTKEY ("id") AS SELECT ')
    assert 'LEFT JOIN (SELECT * FROM "shop"."notes" WHERE EXISTS (SELECT 1 FROM "millrace_stage" AS k$ ' in changed


def test_a_stage_has_one_of_few_widths() -> None:
    widths = {REDSHIFT_DIALECT.stage_type(TEXT, length) for length in range(70_000)}
    assert widths == {f"VARCHAR({2**power})" for power in range(5, 16)} | {"VARCHAR(65535)"}
    assert REDSHIFT_DIALECT.stage_type(DOCUMENT, 16_000_000) == "VARBYTE(16777216)"


async def test_a_target_with_a_decimal_of_19_digits_is_widened_before_it_overflows(engine: Engine) -> None:
    """Redshift keeps 19 digits in eight bytes. Millrace makes 20 of them; earlier versions did not."""
    engine.source("CREATE TABLE notes (id int, v numeric(19, 4), changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes VALUES (1, 1.5)")
    await engine.deliver(NOTES)
    for sql in ("DROP COLUMN v", "ADD COLUMN v NUMERIC(19, 4)"):
        engine.query(f"ALTER TABLE engine.notes {sql}")
    engine.source("UPDATE notes SET changed = clock_timestamp(); INSERT INTO notes VALUES (2, 999999999999999.9999)")
    result = await engine.deliver(NOTES)
    assert result is not None
    assert "widen column v of engine.notes from decimal(18,4) to NUMERIC(20,4)" in result.changes
    assert [str(value) for (value,) in engine.rows("notes", "v")][-1] == "999999999999999.9999"


async def test_the_last_of_several_fields_of_one_name_counts(engine: Engine) -> None:
    engine.source("CREATE TABLE notes (id int, body json, changed timestamptz DEFAULT clock_timestamp())")
    engine.source("""INSERT INTO notes VALUES (1, '{"a":1,"a":2}')""")
    assert counts(await engine.deliver(NOTES)) == {"read": 1, "inserted": 1}
    assert engine.query("SELECT JSON_SERIALIZE(body) FROM engine.notes") == [('{"a":2}',)]
