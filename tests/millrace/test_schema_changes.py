"""Schema changes as values and as SQL: which ones a target needs, which a policy allows, what the servers make of them.

Runs over the engine's own functions against both warehouses; whole runs are in test_schema_policies.py.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from blocks.sql import driver_of, opener, warehouse_connector
from local.stack import Stack
from millrace.database import database_errors
from millrace.declared import SchemaPolicy
from millrace.errors import Conflict, FatalError, SchemaConflict, Unreachable
from millrace.load_modes import DELETED_COLUMN
from millrace.types import (
    BINARY,
    BOOLEAN,
    DATE,
    FLOAT32,
    FLOAT64,
    INT16,
    INT32,
    INT64,
    TEXT,
    TIMESTAMP,
    TIMESTAMP_UTC,
    Column,
    DataType,
    Kind,
    decimal,
    text,
)
from millrace.warehouse.changes import (
    AddColumn,
    Change,
    ColumnLeft,
    CreateTable,
    Incompatible,
    KeyChanged,
    TargetTable,
    WidenText,
    WidenType,
)
from millrace.warehouse.dialect import POSTGRES_DIALECT, REDSHIFT_DIALECT, Dialect, dialect_for, from_catalog
from millrace.warehouse.room import make_room, refuse
from millrace.warehouse.schema import RecordedColumn, changes_for

SCHEMA, TABLE = "shop", "orders"
ON_REDSHIFT = TargetTable(SCHEMA, TABLE, REDSHIFT_DIALECT)
ON_POSTGRES = TargetTable(SCHEMA, TABLE, POSTGRES_DIALECT)
WIDER_N = '"n_wider_18688dfe"'


def columns(**types: DataType) -> list[Column]:
    return [Column(name, name, data_type) for name, data_type in types.items()]


def needed(
    held: Mapping[str, DataType | None] | None,
    wanted: list[Column],
    dialect: Dialect = REDSHIFT_DIALECT,
    longest: Mapping[str, int] | None = None,
    **further: Any,
) -> list[Change]:
    return changes_for(SCHEMA, TABLE, held, wanted, ["id"], longest or {}, dialect, **further)


def recorded(*names: str, keys: tuple[str, ...] = ("id",), left: tuple[str, ...] = ()) -> dict[str, RecordedColumn]:
    return {name: RecordedColumn(name, name, name in keys, name in left) for name in names}


# Which changes there are


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
        WidenText(ON_REDSHIFT, "note", "VARCHAR(64)"),
        WidenType(ON_REDSHIFT, "photo", binary, "VARBYTE(512)"),
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
    assert needed(held, wanted, recorded=known, is_whole=True) == [ColumnLeft(ON_REDSHIFT, "note")]
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
        ColumnLeft(ON_REDSHIFT, "note"),
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
    (created,) = needed(None, columns(id=INT32), trailing=[DELETED_COLUMN])
    assert isinstance(created, CreateTable)
    assert ("_deleted_at", "TIMESTAMPTZ", False) in created.columns
    assert needed({"id": INT32}, columns(id=INT32), trailing=[DELETED_COLUMN]) == [
        AddColumn(ON_REDSHIFT, "_deleted_at", "TIMESTAMPTZ")
    ]
    assert needed({"id": INT32, "_deleted_at": TIMESTAMP_UTC}, columns(id=INT32), trailing=[DELETED_COLUMN]) == []


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
    (step,) = WidenText(ON_REDSHIFT, "note", "VARCHAR(512)").steps()
    assert not step.in_transaction
    assert step.statements == ('ALTER TABLE "shop"."orders" ALTER COLUMN "note" TYPE VARCHAR(512)',)


# What a policy allows

CREATED = CreateTable(ON_REDSHIFT, (("id", "INTEGER", True),))
ADDED = AddColumn(ON_REDSHIFT, "note", "VARCHAR(40)")
LONGER = WidenText(ON_REDSHIFT, "note", "VARCHAR(80)")
WIDER = WidenType(ON_REDSHIFT, "n", INT32, "BIGINT")
LEFT = ColumnLeft(ON_REDSHIFT, "note")
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
    assert str(OTHER_KEY) == "shop.orders was loaded with the key (id), the stream declares (id, line)"
    with pytest.raises(SchemaConflict, match=r"add column note .*; column n .*schema_policy='evolve'"):
        refuse([ADDED, BENT], "freeze", "stream orders")


# What the servers make of them


@dataclass
class Place:
    """An empty warehouse."""

    connect: Callable[[], Any]
    dialect: Dialect

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def held(self) -> dict[str, DataType | None] | None:
        described = self.run(
            "SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale "
            f"FROM {self.dialect.catalog} WHERE table_schema = '{SCHEMA}' AND table_name = '{TABLE}'"
        )
        return {name: from_catalog(*one) for name, *one in described} or None

    def types(self, *names: str) -> list[DataType | None]:
        held = self.held() or {}
        return [held[name] for name in names]

    def needed(self, wanted: list[Column], **further: Any) -> list[Change]:
        return needed(self.held(), wanted, self.dialect, **further)

    def make(self, changes: list[Change], policy: SchemaPolicy = "evolve") -> None:
        with closing(self.connect()) as connection, database_errors("test"):
            make_room(connection, changes, policy, "stream orders")

    def create(self, **types: DataType) -> None:
        """The table without the loader's own columns' NOT NULL, so that rows are short to insert."""
        typed = [(name, self.dialect.target_type(data_type, 0), name == "id") for name, data_type in types.items()]
        self.make([CreateTable(TargetTable(SCHEMA, TABLE, self.dialect), tuple(typed))])

    def insert(self, **values: str) -> None:
        self.run(f"INSERT INTO {SCHEMA}.{TABLE} ({', '.join(values)}) VALUES ({', '.join(values.values())})")

    def rows(self, *names: str) -> list[tuple[Any, ...]]:
        return self.run(f"SELECT {', '.join(names)} FROM {SCHEMA}.{TABLE} ORDER BY id")


@pytest.fixture(params=["redshift", "postgres"])
def place(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Place]:
    name = "schema_changes"
    if request.param == "redshift":
        stack.warehouse.clear()
        url = stack.warehouse.url
    else:
        url = stack.postgres.create_database(name)
    connector = warehouse_connector(url, place="test")
    yield Place(opener(connector), dialect_for(driver_of(connector)))
    if request.param == "postgres":
        stack.postgres.drop_database(name)


def test_a_table_as_it_was_made_needs_no_change(place: Place) -> None:
    """Every kind is found in the catalog as what it was made for."""
    types = {f"c_{kind}": DataType(kind) for kind in Kind if kind is not Kind.DECIMAL}
    wanted = columns(id=INT32, **types, exact=decimal(38, 9), short=text(40))
    place.make(place.needed(wanted, trailing=[DELETED_COLUMN]))
    assert place.needed(wanted, trailing=[DELETED_COLUMN], recorded=recorded("id", "short"), is_whole=True) == []


WIDENED: list[tuple[str, DataType, DataType, DataType, list[str], str]] = [
    # name, held, wanted, what it becomes, values at the edges of the old type, one that only the new type holds
    ("small", INT16, INT32, INT32, ["-32768", "32767"], "2147483647"),
    ("whole", INT32, INT64, INT64, ["-2147483648", "2147483647"], "-9223372036854775808"),
    ("counted", INT64, decimal(12, 2), decimal(21, 2), ["9223372036854775807", "-9223372036854775808"], "0.01"),
    ("amount", decimal(12, 2), INT64, decimal(21, 2), ["9999999999.99", "-0.01"], "9223372036854775807"),
    ("finer", decimal(12, 2), decimal(36, 9), decimal(36, 9), ["-9999999999.99", "0.10"], "0.000000001"),
    ("ratio", FLOAT32, FLOAT64, FLOAT64, ["16777216", "0.5"], "9007199254740992"),
    ("number", INT32, FLOAT64, FLOAT64, ["-2147483648", "2147483647"], "0.5"),
    ("day", DATE, TIMESTAMP, TIMESTAMP, ["'0001-01-01'", "'9999-12-31'"], "'2024-02-29 12:34:56.789012'"),
]
"""In SQL literals."""


def test_values_stay_what_they_were_in_a_wider_column(place: Place) -> None:
    names = [name for name, *_ in WIDENED]
    place.create(id=INT32, **{name: held for name, held, *_ in WIDENED})
    place.insert(id="0")
    for row in (1, 2):
        place.insert(id=str(row), **{name: values[row - 1] for name, _, _, _, values, _ in WIDENED})
    wanted = columns(id=INT32, **{name: wanted for name, _, wanted, *_ in WIDENED})
    changes = place.needed(wanted)
    assert len(changes) == len(WIDENED)
    place.make(changes)
    assert place.types(*names) == [wider for _, _, _, wider, *_ in WIDENED]
    place.insert(id="3", **{name: later for name, *_, later in WIDENED})
    assert place.needed(wanted) == []
    for name, *_, values, later in WIDENED:
        equal = [f"{name} = {value}" for value in (*values, later)]
        found = place.rows(*equal)
        assert [row[number] for number, row in enumerate(found[1:])] == [True] * 3, name
        assert found[0] == (None, None, None)


def test_a_wider_key_keeps_its_rows(place: Place) -> None:
    """Redshift adds no NOT NULL column without a default, so there the column is not NOT NULL any more."""
    place.create(id=INT16, note=text(9))
    place.insert(id="32767", note="'last'")
    place.make(place.needed(columns(id=INT64, note=text(9))))
    place.insert(id="9223372036854775807", note="'new'")
    assert place.rows("id", "note") == [(32767, "last"), (9223372036854775807, "new")]
    nullable = place.run(
        f"SELECT is_nullable FROM {place.dialect.catalog} WHERE table_name = '{TABLE}' AND column_name = 'id'"
    )
    assert nullable == [("NO" if place.dialect.alters_types else "YES",)]


def test_longer_texts_and_bytes(place: Place) -> None:
    photo = "FROM_HEX('00ff')" if place.dialect.measures_text else "decode('00ff', 'hex')"
    place.create(id=INT32, note=text(3), photo=BINARY)
    place.insert(id="1", note="'äb'", photo=photo)
    place.make(place.needed(columns(id=INT32, note=text(3), photo=BINARY), longest={"note": 4, "photo": 300}))
    place.insert(id="2", note="'ää'")
    assert place.rows("note", f"photo = {photo}") == [("äb", True), ("ää", None)]
    expected = [text(4), DataType(Kind.BINARY, length=512)] if place.dialect.measures_text else [TEXT, BINARY]
    assert place.types("note", "photo") == expected


@pytest.mark.parametrize("name", ["note", "absent"])
def test_the_connection_is_in_transactions_again_afterwards(place: Place, name: str) -> None:
    """What comes next is the load's own transaction, also after a statement that failed."""
    place.create(id=INT32, note=text(3))
    longer = WidenText(TargetTable(SCHEMA, TABLE, place.dialect), name, "VARCHAR(80)")
    with closing(place.connect()) as connection:
        if name == "absent":
            with pytest.raises(FatalError), database_errors("test"):
                make_room(connection, [longer], "evolve", "stream orders")
        else:
            make_room(connection, [longer], "evolve", "stream orders")
        assert connection.autocommit is False


def test_a_new_column_is_null_in_older_rows(place: Place) -> None:
    place.create(id=INT32)
    place.insert(id="1")
    place.make(place.needed(columns(id=INT32, paid=BOOLEAN), trailing=[DELETED_COLUMN]))
    assert place.rows("id", "paid", "_deleted_at") == [(1, None, None)]


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("evolve", columns(id=INT32, note=TEXT, value=TEXT)),
        ("freeze", columns(id=INT32, value=INT64)),
        ("quarantine", columns(id=INT32, note=TEXT)),
    ],
)
def test_nothing_is_done_when_one_change_is_refused(place: Place, policy: SchemaPolicy, wanted: list[Column]) -> None:
    place.create(id=INT32, value=INT32)
    held = place.held()
    with pytest.raises(SchemaConflict):
        place.make(place.needed(wanted), policy)
    assert place.held() == held


def test_a_view_over_the_column_is_named(place: Place) -> None:
    place.create(id=INT32, n=INT32)
    place.insert(id="1", n="7")
    place.run(f"CREATE VIEW {SCHEMA}.report AS SELECT n FROM {SCHEMA}.{TABLE}")
    changes = place.needed(columns(id=INT32, n=INT64))
    with pytest.raises(SchemaConflict, match=r"widen column n .*view .*report.*Remedy: drop the view"):
        place.make(changes)
    assert place.types("n") == [INT32]
    place.run(f"DROP VIEW {SCHEMA}.report")
    place.make(changes)
    assert (place.types("n"), place.rows("n")) == ([INT64], [(7,)])


def test_what_another_load_widened_is_not_made_narrower(place: Place) -> None:
    """Both looked at the catalog before either changed it: the second would round the cents away."""
    place.create(id=INT32, n=INT32)
    first, second = (place.needed(columns(id=INT32, n=wanted)) for wanted in (decimal(12, 2), INT64))
    place.make(first)
    place.insert(id="1", n="0.25")
    with pytest.raises(Conflict, match="changed by another load"):
        place.make(second)
    assert (place.types("n"), place.rows("CAST(n AS VARCHAR)")) == ([decimal(12, 2)], [("0.25",)])
    place.make(place.needed(columns(id=INT32, n=INT64)))
    assert (place.types("n"), place.rows("CAST(n AS VARCHAR)")) == ([decimal(21, 2)], [("0.25",)])


def test_loads_that_widen_at_once_end_in_what_holds_all(place: Place) -> None:
    place.create(id=INT32, n=INT16)
    place.insert(id="1", n="32767")
    failures: list[Exception] = []
    barrier = threading.Barrier(3)

    def widen(wanted: DataType) -> None:
        barrier.wait()
        for _ in range(10):
            try:
                return place.make(place.needed(columns(id=INT32, n=wanted)))
            except Conflict as error:
                failure = error
        failures.append(failure)
        return None

    loads = [threading.Thread(target=widen, args=(wanted,)) for wanted in (INT32, INT64, decimal(12, 2))]
    for load in loads:
        load.start()
    for load in loads:
        load.join()
    assert failures == []
    assert place.types("n") == [decimal(21, 2)]
    assert place.run(f"SELECT count(*) FROM {SCHEMA}.{TABLE} WHERE n = 32767") == [(1,)]


@pytest.mark.parametrize("place", ["redshift"], indirect=True)
@pytest.mark.parametrize(("statement", "nth"), [("alter", 1), ("update", 1), ("alter", 2), ("alter", 3), ("commit", 1)])
def test_a_connection_lost_while_a_column_is_replaced_leaves_it_whole(place: Place, statement: str, nth: int) -> None:
    place.create(id=INT32, n=INT32)
    place.insert(id="1", n="7")
    held, changes = place.held(), place.needed(columns(id=INT32, n=INT64))
    fault = json.dumps({"statement": statement, "nth": nth, "action": "close"})
    with closing(place.connect()) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"STANDIN INJECT '{fault}'")
    with pytest.raises(Unreachable):
        place.make(changes)
    assert (place.held(), place.rows("n")) == (held, [(7,)])
    place.make(place.needed(columns(id=INT32, n=INT64)))
    assert (place.types("n"), place.rows("n")) == ([INT64], [(7,)])
