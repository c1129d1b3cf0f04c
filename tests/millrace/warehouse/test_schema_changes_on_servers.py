"""What the servers make of schema changes: the engine's own functions, against both warehouses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from local.stack import Stack
from millrace.base.errors import Conflict, FatalError, SchemaConflict, Unreachable
from millrace.base.types import (
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
    Column,
    DataType,
    Kind,
    decimal,
    text,
)
from millrace.blocks.sql import driver_of, opener, warehouse_connector
from millrace.declaration.captures import SchemaPolicy
from millrace.drivers.psycopg_errors import database_errors
from millrace.warehouse.dialect import Dialect, dialect_for, from_catalog
from millrace.warehouse.schema.column_changes import Change, CreateTable, WidenLength
from millrace.warehouse.schema.make_changes import make_changes
from millrace.warehouse.table import Table
from tests.support.schema_cases import SCHEMA, TABLE, columns, needed, recorded


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
            make_changes(connection, changes, policy, "stream orders")

    def create(self, **types: DataType) -> None:
        """The table without the loader's own columns' NOT NULL, so that rows are short to insert."""
        typed = [(name, self.dialect.target_type(data_type, 0), name == "id") for name, data_type in types.items()]
        self.make([CreateTable(Table(SCHEMA, TABLE, self.dialect), tuple(typed))])

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
    place.make(place.needed(wanted, deletes="soft"))
    assert place.needed(wanted, deletes="soft", recorded=recorded("id", "short"), is_whole=True) == []


WIDENED: list[tuple[str, DataType, DataType, DataType, list[str], str]] = [
    # name, held, wanted, what it becomes, values at the edges of the old type, one that only the new type holds
    ("small", INT16, INT32, INT32, ["-32768", "32767"], "2147483647"),
    ("whole", INT32, INT64, INT64, ["-2147483648", "2147483647"], "-9223372036854775807"),
    ("counted", INT64, decimal(12, 2), decimal(21, 2), ["9223372036854775807", "-9223372036854775807"], "0.01"),
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
        f"SELECT is_nullable FROM information_schema.columns WHERE table_name = '{TABLE}' AND column_name = 'id'"
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
    longer = WidenLength(Table(SCHEMA, TABLE, place.dialect), name, text(3), "VARCHAR(80)")
    with closing(place.connect()) as connection:
        if name == "absent":
            with pytest.raises(FatalError), database_errors("test"):
                make_changes(connection, [longer], "evolve", "stream orders")
        else:
            make_changes(connection, [longer], "evolve", "stream orders")
        assert connection.autocommit is False


def test_a_new_column_is_null_in_older_rows(place: Place) -> None:
    place.create(id=INT32)
    place.insert(id="1")
    place.make(place.needed(columns(id=INT32, paid=BOOLEAN), deletes="soft"))
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
