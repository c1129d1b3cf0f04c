"""Schema changes as values and as SQL: which ones a target needs, which a policy allows. No server is asked."""

from __future__ import annotations

import pytest

from millrace.base.errors import SchemaConflict
from millrace.base.types import (
    BINARY,
    DATE,
    FLOAT64,
    INT16,
    INT32,
    INT64,
    TEXT,
    TIMESTAMP,
    TIMESTAMP_UTC,
    DataType,
    Kind,
    decimal,
    text,
)
from millrace.declaration.captures import SchemaPolicy
from millrace.warehouse.dialect import POSTGRES_DIALECT, REDSHIFT_DIALECT
from millrace.warehouse.schema.column_changes import (
    AddColumn,
    Change,
    ColumnNotRead,
    CreateTable,
    Incompatible,
    KeyChanged,
    WidenLength,
    WidenType,
)
from millrace.warehouse.schema.make_changes import refuse
from millrace.warehouse.table import Table
from tests.support.schema_cases import SCHEMA, TABLE, columns, needed, recorded

ON_REDSHIFT = Table(SCHEMA, TABLE, REDSHIFT_DIALECT)
ON_POSTGRES = Table(SCHEMA, TABLE, POSTGRES_DIALECT)
WIDER_N = '"n_wider_18688dfe"'


def test_nothing_changes_for_another_order_or_a_narrower_type() -> None:
    held = {"id": INT64, "amount": decimal(14, 4), "at": TIMESTAMP, "note": text(300), "_row_hash": text(39)}
    wanted = columns(note=text(40), at=DATE, amount=decimal(12, 2), id=INT16)
    assert needed(held, wanted, longest={"note": 300}) == []


def test_a_new_column() -> None:
    assert needed({"id": INT32}, columns(id=INT32, note=TEXT), longest={"note": 300}) == [
        AddColumn(ON_REDSHIFT, "note", "VARCHAR(512)")
    ]


def test_a_wider_type_is_the_one_that_holds_both() -> None:
    held = {"id": INT32, "amount": decimal(12, 2)}
    assert needed(held, columns(id=INT64, amount=INT64)) == [
        WidenType(ON_REDSHIFT, "id", INT32, "BIGINT"),
        WidenType(ON_REDSHIFT, "amount", decimal(12, 2), "NUMERIC(21,2)"),
    ]


def test_longer_texts_and_bytes_where_lengths_are_measured() -> None:
    binary = DataType(Kind.BINARY, length=256)
    held, longest = {"id": INT32, "note": text(40), "photo": binary}, {"note": 41, "photo": 257}
    wanted = columns(id=INT32, note=text(40), photo=BINARY)
    assert needed(held, wanted, longest=longest) == [
        WidenLength(ON_REDSHIFT, "note", text(40), "VARCHAR(64)"),
        WidenLength(ON_REDSHIFT, "photo", binary, "VARBYTE(512)"),
    ]
    assert needed(held, wanted, POSTGRES_DIALECT, longest) == []


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (INT32, TEXT),
        (TEXT, INT32),
        (TIMESTAMP, TIMESTAMP_UTC),
        (INT64, FLOAT64),
        (decimal(38, 20), INT64),
        (None, TEXT),
    ],
)
def test_no_type_holds_both(held: DataType | None, wanted: DataType) -> None:
    (change,) = needed({"id": INT32, "value": held}, columns(id=INT32, value=wanted))
    assert isinstance(change, Incompatible)
    assert not change.additive
    assert change.sql() == []


def test_a_column_that_left_is_told_once_and_where_all_columns_are_known() -> None:
    held, wanted = {"id": INT32, "note": text(9), "by_hand": TEXT, "_loaded_at": TIMESTAMP_UTC}, columns(id=INT32)
    known = recorded("id", "note", "dropped_in_the_target")
    assert needed(held, wanted, recorded=known, is_whole=True) == [ColumnNotRead(ON_REDSHIFT, "note")]
    assert needed(held, wanted, recorded=known) == []
    assert needed(held, [], recorded=known, is_whole=True) == []
    assert needed(held, wanted, recorded=recorded("id", "note", left=("note",)), is_whole=True) == []


def test_a_renamed_column_is_one_that_left_and_one_that_came() -> None:
    changes = needed(
        {"id": INT32, "note": text(9)},
        columns(id=INT32, remark=text(9)),
        recorded=recorded("id", "note"),
        is_whole=True,
    )
    assert changes == [
        AddColumn(ON_REDSHIFT, "remark", "VARCHAR(9)"),
        ColumnNotRead(ON_REDSHIFT, "note"),
    ]


def test_another_key() -> None:
    held = {"id": INT32, "line": INT32}
    wanted = columns(id=INT32, line=INT32)
    assert needed(held, wanted, recorded=recorded("id", "line", keys=("id", "line"))) == [
        KeyChanged(ON_REDSHIFT, ("id", "line"), ("id",))
    ]
    assert needed(held, wanted, recorded=recorded("id", "line")) == []
    assert needed(held, wanted, recorded=recorded("id", "line", keys=())) == []
    assert isinstance(needed(None, wanted, recorded=recorded("id", keys=("line",)))[0], CreateTable)


def test_soft_deletes_have_a_column_of_their_own() -> None:
    (created,) = needed(None, columns(id=INT32), deletes="soft")
    assert isinstance(created, CreateTable)
    assert ("_deleted_at", "TIMESTAMPTZ", False) in created.columns
    assert needed({"id": INT32}, columns(id=INT32), deletes="soft") == [
        AddColumn(ON_REDSHIFT, "_deleted_at", "TIMESTAMPTZ")
    ]
    assert needed({"id": INT32, "_deleted_at": TIMESTAMP_UTC}, columns(id=INT32), deletes="soft") == []


# Their SQL


def test_sql_of_a_new_table() -> None:
    (created,) = needed(None, columns(id=INT32, note=TEXT))
    assert created.sql() == [
        'CREATE SCHEMA IF NOT EXISTS "shop"',
        'CREATE TABLE IF NOT EXISTS "shop"."orders" (\n    "id" INTEGER NOT NULL,\n    "note" VARCHAR(256),\n'
        '    "_row_hash" VARCHAR(39) NOT NULL,\n    "_loaded_at" TIMESTAMPTZ NOT NULL\n)',
    ]


def test_sql_of_a_wider_type() -> None:
    table = 'ALTER TABLE "shop"."orders"'
    (step,) = WidenType(ON_POSTGRES, "n", INT32, "BIGINT").steps()
    assert (step.statements, step.in_transaction) == ((f'{table} ALTER COLUMN "n" TYPE BIGINT',), True)
    (step,) = WidenType(ON_REDSHIFT, "n", INT32, "BIGINT").steps()
    assert step.in_transaction
    assert step.statements == (
        f"{table} ADD COLUMN {WIDER_N} BIGINT",
        f'UPDATE "shop"."orders" SET {WIDER_N} = "n"',
        f'{table} DROP COLUMN "n"',
        f'{table} RENAME COLUMN {WIDER_N} TO "n"',
    )


def test_a_longer_varchar_is_made_outside_a_transaction() -> None:
    (step,) = WidenLength(ON_REDSHIFT, "note", text(40), "VARCHAR(512)").steps()
    assert not step.in_transaction
    assert step.statements == ('ALTER TABLE "shop"."orders" ALTER COLUMN "note" TYPE VARCHAR(512)',)


# What a policy allows

CREATED = CreateTable(ON_REDSHIFT, (("id", "INTEGER", True),))
ADDED = AddColumn(ON_REDSHIFT, "note", "VARCHAR(40)")
LONGER = WidenLength(ON_REDSHIFT, "note", text(40), "VARCHAR(80)")
WIDER = WidenType(ON_REDSHIFT, "n", INT32, "BIGINT")
LEFT = ColumnNotRead(ON_REDSHIFT, "note")
BENT = Incompatible(ON_REDSHIFT, "n", "int32", "text")
OTHER_KEY = KeyChanged(ON_REDSHIFT, ("id",), ("id", "line"))


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [("evolve", [CREATED, ADDED, LONGER, WIDER, LEFT]), ("freeze", [CREATED]), ("quarantine", [CREATED, LEFT])],
)
def test_a_policy_allows(policy: SchemaPolicy, allowed: list[Change]) -> None:
    for change in (CREATED, ADDED, LONGER, WIDER, LEFT, BENT, OTHER_KEY):
        if change in allowed:
            refuse([change], policy, "stream orders")
        else:
            with pytest.raises(SchemaConflict, match=r"stream orders: .*orders.*\. Remedy: "):
                refuse([change], policy, "stream orders")


def test_every_refused_change_is_named_with_its_remedy() -> None:
    with pytest.raises(SchemaConflict) as refused:
        refuse([ADDED, BENT, OTHER_KEY], "evolve", "stream orders")
    assert refused.value.problem == f"{BENT}; {OTHER_KEY}"
    assert refused.value.remedy == f"{BENT.remedy}; {OTHER_KEY.remedy}"
    assert str(BENT) == "column n of shop.orders is int32 and cannot hold text"
    assert str(OTHER_KEY) == "shop.orders was loaded with the key (id), and the declaration says the key (id, line)"
    with pytest.raises(SchemaConflict, match=r"add column note .*; column n .*schema_policy='evolve'"):
        refuse([ADDED, BENT], "freeze", "stream orders")
