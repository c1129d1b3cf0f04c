"""sql/totesys/views.sql on Postgres and through the Redshift stand-in, over small tables made by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

from millrace import History, Model
from millrace.base.types import TIMESTAMP, DataType, Kind, from_polars
from millrace.pipelines.totesys import pipeline
from millrace.warehouse.dialect import POSTGRES_DIALECT, REDSHIFT_DIALECT, Dialect

VIEWS = Path(__file__).parents[2] / "sql" / "totesys" / "views.sql"
STATEMENTS = [text for text in VIEWS.read_text(encoding="utf-8").split(";\n") if text.strip()]
NOON, ONE, TWO, THREE = (datetime(2024, 11, 14, hour, tzinfo=UTC).replace(tzinfo=None) for hour in (12, 13, 14, 15))
"""When the versions were loaded."""

NUMBER = DataType(Kind.INT32)
OWN_COLUMNS = {"_row_hash": DataType(Kind.TEXT), "_loaded_at": TIMESTAMP, "_deleted_at": TIMESTAMP}
HISTORY_COLUMNS = {"_version": NUMBER}

STAMPS: dict[str, Any] = {
    "created_date": date(2024, 11, 14), "created_time": time(9), "last_updated_date": date(2024, 11, 14),
    "last_updated_time": time(9),
}  # fmt: skip
ORDER = STAMPS | {
    "counterparty_id": 1, "currency_id": 1, "agreed_delivery_location_id": 1,
    "agreed_payment_date": date(2024, 11, 18), "agreed_delivery_date": date(2024, 11, 20),
}  # fmt: skip
SALE = ORDER | {"sales_staff_id": 1, "units_sold": 10, "unit_price": Decimal("2.50"), "design_id": 1}
PURCHASE = ORDER | {"staff_id": 1, "item_code": "ZDOI5EA", "item_quantity": 3, "item_unit_price": Decimal("9.99")}
PAYMENT = STAMPS | {
    "transaction_id": 1, "counterparty_id": 1, "payment_amount": Decimal("25.00"), "currency_id": 1,
    "payment_type_id": 1, "paid": False, "payment_date": date(2024, 11, 18),
}  # fmt: skip
LEGAL = {
    f"counterparty_legal_{name}": "x" for name in ("address_line_1", "city", "postal_code", "phone_number")
}  # fmt: skip
DESIGN = {"file_location": "/private", "file_name": "x.json"}
STAFF = {"department_name": "Sales", "location": "Leds", "email_address": "x@example.com"}


@dataclass
class Star:
    """Empty tables of the star with its views, in one of the two warehouses."""

    cursor: psycopg2.extensions.cursor

    def insert(self, table: str, *rows: Mapping[str, Any]) -> None:
        for row in rows:
            names, places = ", ".join(row), ", ".join(["%s"] * len(row))
            self.cursor.execute(f"INSERT INTO totesys.{table} ({names}) VALUES ({places})", list(row.values()))

    def versions(self, table: str, key: str, *versions: Mapping[str, Any]) -> None:
        """Versions of one row, in order, with record id and number; `_loaded_at` is part of each."""
        for number, version in enumerate(versions, start=1):
            record = {_record_id(table): version[key] * 10_000 + number, "_version": number}
            self.insert(table, {"_loaded_at": NOON, **version, **record})

    def select(self, query: str) -> list[tuple[Any, ...]]:
        self.cursor.execute(query)
        return self.cursor.fetchall()


def _record_id(table: str) -> str:
    load = pipeline.find(table).load
    assert isinstance(load, History)
    return load.record_id


def _create_table(model: Model, dialect: Dialect) -> str:
    columns = {name: from_polars(column.dtype) for name, column in model.schema.columns().items()} | OWN_COLUMNS
    if isinstance(model.load, History):
        columns = {model.load.record_id: DataType(Kind.INT64), **columns, **HISTORY_COLUMNS}
    typed = ", ".join(f"{name} {dialect.target_type(data_type, 0)}" for name, data_type in columns.items())
    return f"CREATE TABLE totesys.{model.name} ({typed})"


def _make(cursor: psycopg2.extensions.cursor, dialect: Dialect, suffix: str = "") -> Star:
    cursor.execute("CREATE SCHEMA IF NOT EXISTS totesys")
    for statement in [_create_table(model, dialect) for model in pipeline.models]:
        cursor.execute(statement)
    for statement in STATEMENTS:
        cursor.execute(statement + suffix)
    return Star(cursor)


@pytest.fixture(params=["postgres", "redshift"])
def star(request: pytest.FixtureRequest) -> Iterator[Star]:
    """On Redshift as a program runs it there: views that do not depend on columns."""
    if request.param == "postgres":
        url, dialect, suffix = request.getfixturevalue("postgres_database"), POSTGRES_DIALECT, ""
    else:
        url = request.getfixturevalue("warehouse_url").replace("redshift+psycopg2", "postgresql")
        dialect, suffix = REDSHIFT_DIALECT, " WITH NO SCHEMA BINDING"
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        yield _make(cursor, dialect, suffix)


@pytest.fixture
def sales(star: Star) -> Star:
    """Two counterparties, two currencies, two designs, three sellers and what they sold."""
    star.insert(
        "dim_counterparty",
        {"counterparty_id": 1, "counterparty_legal_name": "Leannon", "counterparty_legal_country": "Turkey", **LEGAL},
        {"counterparty_id": 2, "counterparty_legal_name": "O'Hara", "counterparty_legal_country": "Chad", **LEGAL},
    )
    star.insert("dim_currency", *(_currency(1, "GBP"), _currency(2, "EUR")))
    star.insert(
        "dim_design",
        {"design_id": 1, "design_name": "Bronze", **DESIGN},
        {"design_id": 2, "design_name": "Steel", **DESIGN},
        {"design_id": 3, "design_name": "Unknown", "_deleted_at": NOON, **DESIGN},
    )
    star.insert(
        "dim_staff",
        {"staff_id": 1, "first_name": "Jeremie", "last_name": "Le", **STAFF},
        {"staff_id": 2, "first_name": "Ann", "last_name": "O'Keefe", **STAFF},
        {"staff_id": 3, "first_name": "Gone", "last_name": "Away", "_deleted_at": NOON, **STAFF},
    )
    star.insert("dim_date", *(_month(date(2024, 11, 14)), _month(date(2024, 12, 2))))
    december = {"created_date": date(2024, 12, 2)}
    key = "sales_order_id"
    star.versions("fact_sales_order", key, SALE | {key: 1, "units_sold": 1}, SALE | {key: 1})  # 10 × 2.50 GBP
    star.versions("fact_sales_order", key, SALE | {key: 2, "sales_staff_id": 2, "design_id": 2})  # 10 × 2.50 GBP
    star.versions("fact_sales_order", key, SALE | {key: 3, "unit_price": Decimal("0.01")})  # 10 × 0.01 GBP
    star.versions("fact_sales_order", key, SALE | december | {key: 4, "units_sold": 2})  # 2 × 2.50 GBP
    star.versions("fact_sales_order", key, SALE | {key: 5, "counterparty_id": 2, "currency_id": 2, "design_id": 3})
    star.versions("fact_sales_order", key, SALE | {key: 6}, SALE | {key: 6, "_deleted_at": ONE})  # left the source
    star.versions("fact_sales_order", key, SALE | {key: 7, "sales_staff_id": 3, "units_sold": 1, "design_id": 2})
    return star


def _currency(number: int, code: str) -> dict[str, Any]:
    return {"currency_id": number, "currency_code": code, "currency_name": code}


def _month(day: date) -> dict[str, Any]:
    parts = {"year": day.year, "month": day.month, "day": day.day, "day_of_week": 1, "quarter": 4}
    return {"date_id": day, **parts, "day_name": "x", "month_name": "x"}


def _histories(star: Star, table: str, key: str, row: Mapping[str, Any]) -> None:
    """Row 1 changed twice, row 2 stayed, row 3 was deleted, row 4 was deleted and came back."""
    star.versions(table, key, *(row | {key: 1, "_loaded_at": moment} for moment in (NOON, ONE, TWO)))
    star.versions(table, key, row | {key: 2})
    star.versions(table, key, row | {key: 3}, row | {key: 3, "_loaded_at": ONE, "_deleted_at": ONE})
    gone = row | {key: 4, "_loaded_at": ONE, "_deleted_at": ONE}
    star.versions(table, key, row | {key: 4}, gone, row | {key: 4, "_loaded_at": THREE})


FACTS: Sequence[tuple[str, str, Mapping[str, Any]]] = [
    ("sales_order", "sales_order_id", SALE),
    ("purchase_order", "purchase_order_id", PURCHASE),
    ("payment", "payment_id", PAYMENT),
]


def test_history_and_current_state_of_each_fact(star: Star) -> None:
    for name, key, row in FACTS:
        _histories(star, f"fact_{name}", key, row)
        told = f"{key}, version, valid_from, valid_to, is_current, is_deleted"
        assert star.select(f"SELECT {told} FROM totesys.history_{name} ORDER BY {key}, version") == [
            (1, 1, NOON, ONE, False, False),
            (1, 2, ONE, TWO, False, False),
            (1, 3, TWO, None, True, False),
            (2, 1, NOON, None, True, False),
            (3, 1, NOON, ONE, False, False),
            (3, 2, ONE, None, True, True),
            (4, 1, NOON, ONE, False, False),
            (4, 2, ONE, THREE, False, True),
            (4, 3, THREE, None, True, False),
        ]
        current = f"SELECT {key}, {_record_id(f'fact_{name}')} FROM totesys.current_{name} ORDER BY 1"
        assert star.select(current) == [(1, 10_003), (2, 20_001), (4, 40_003)]


def test_state_as_of_a_moment(star: Star) -> None:
    _histories(star, "fact_payment", "payment_id", PAYMENT)
    as_of = f"valid_from <= '{ONE}' AND (valid_to > '{ONE}' OR valid_to IS NULL) AND NOT is_deleted"
    versions = f"SELECT payment_id, version FROM totesys.history_payment WHERE {as_of} ORDER BY 1"
    assert star.select(versions) == [(1, 2), (2, 1)]


def test_views_of_facts_hold_every_column_of_their_table(star: Star) -> None:
    for name, _, _ in FACTS:
        columns = [_record_id(f"fact_{name}"), *pipeline.find(f"fact_{name}").schema.column_names()]
        for kind in ("current", "history"):
            assert _columns(star, f"{kind}_{name}")[: len(columns)] == columns


def _columns(star: Star, view: str) -> list[str]:
    star.select(f"SELECT * FROM totesys.{view}")
    return [column.name for column in star.cursor.description or ()]


def test_purchase_orders_in_the_plural(star: Star) -> None:
    _histories(star, "fact_purchase_order", "purchase_order_id", PURCHASE)
    columns = ", ".join(_columns(star, "fact_purchase_orders"))
    plural = star.select(f"SELECT {columns} FROM totesys.fact_purchase_orders ORDER BY purchase_record_id")
    assert len(plural) == 9
    assert plural == star.select(f"SELECT {columns} FROM totesys.fact_purchase_order ORDER BY purchase_record_id")


def test_sales_by_country_and_month(sales: Star) -> None:
    assert sales.select(
        "SELECT country, year, month, currency_code, orders, units_sold, sales_amount "
        "FROM totesys.sales_by_country_and_month ORDER BY country, year, month"
    ) == [
        ("Chad", 2024, 11, "EUR", 1, 10, Decimal("25.00")),
        ("Turkey", 2024, 11, "GBP", 4, 31, Decimal("52.60")),
        ("Turkey", 2024, 12, "GBP", 1, 2, Decimal("5.00")),
    ]


def test_top_designs(sales: Star) -> None:
    assert sales.select(
        "SELECT currency_code, sales_rank, design_id, design_name, orders, units_sold, sales_amount "
        "FROM totesys.top_designs ORDER BY currency_code, sales_rank"
    ) == [
        ("EUR", 1, 3, "Unknown", 1, 10, Decimal("25.00")),
        ("GBP", 1, 1, "Bronze", 3, 22, Decimal("30.10")),
        ("GBP", 2, 2, "Steel", 2, 11, Decimal("27.50")),
    ]


def test_staff_performance(sales: Star) -> None:
    assert sales.select(
        "SELECT staff_id, last_name, department_name, location, year, month, currency_code, orders, units_sold, "
        "sales_amount FROM totesys.staff_performance ORDER BY staff_id, currency_code, month"
    ) == [
        (1, "Le", "Sales", "Leds", 2024, 11, "EUR", 1, 10, Decimal("25.00")),
        (1, "Le", "Sales", "Leds", 2024, 11, "GBP", 2, 20, Decimal("25.10")),
        (1, "Le", "Sales", "Leds", 2024, 12, "GBP", 1, 2, Decimal("5.00")),
        (2, "O'Keefe", "Sales", "Leds", 2024, 11, "GBP", 1, 10, Decimal("25.00")),
        (3, "Away", "Sales", "Leds", 2024, 11, "GBP", 1, 1, Decimal("2.50")),
    ]


def test_payments_due(sales: Star) -> None:
    sales.insert("dim_payment_type", {"payment_type_id": 1, "payment_type_name": "SALES_RECEIPT"})
    today = sales.select("SELECT CURRENT_DATE")[0][0]
    key = "payment_id"
    for number, days in enumerate((-3, 0, 4), start=1):
        sales.versions("fact_payment", key, PAYMENT | {key: number, "payment_date": today + timedelta(days=days)})
    sales.versions("fact_payment", key, PAYMENT | {key: 4}, PAYMENT | {key: 4, "paid": True})
    sales.versions("fact_payment", key, PAYMENT | {key: 5}, PAYMENT | {key: 5, "_deleted_at": ONE})
    assert sales.select("SELECT * FROM totesys.payments_due ORDER BY payment_id") == [
        (number, "SALES_RECEIPT", "Leannon", Decimal("25.00"), "GBP", today - timedelta(days=days), days, days > 0)
        for number, days in ((1, 3), (2, 0), (3, -4))
    ]


def test_views_may_be_made_again(star: Star) -> None:
    for statement in STATEMENTS:
        star.cursor.execute(statement)
    assert star.select("SELECT COUNT(*) FROM totesys.current_payment") == [(0,)]
