"""The warehouse of `totesys` compared with a second computation of it: in SQL, at the source (sql/totesys/star.sql)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extras import execute_values

from millrace.base.sql_files import SQL_FILES

STAR = SQL_FILES / "totesys" / "star.sql"
FACTS = ("fact_sales_order", "fact_purchase_order", "fact_payment")
DIMENSIONS = (
    "dim_transaction", "dim_staff", "dim_payment_type", "dim_location", "dim_design", "dim_currency",
    "dim_counterparty", "dim_date",
)  # fmt: skip
RUNS = (
    "SELECT stream, read_at FROM millrace.batches WHERE pipeline = 'totesys' AND kind <> 'model' "
    "AND position IS NOT NULL"
)
WAITS = "SELECT table_name, percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) FROM waits GROUP BY table_name"
ORPHANS = (
    "SELECT count(*) FROM totesys.{fact} AS f LEFT JOIN totesys.{dimension} AS d ON d.{key} = f.{column} "
    "WHERE d.{key} IS NULL"
)
REFERENCES = {
    "fact_sales_order": {
        "sales_staff_id": ("dim_staff", "staff_id"),
        "counterparty_id": ("dim_counterparty", "counterparty_id"),
        "currency_id": ("dim_currency", "currency_id"),
        "design_id": ("dim_design", "design_id"),
        "agreed_delivery_location_id": ("dim_location", "location_id"),
        **dict.fromkeys(("created_date", "last_updated_date", "agreed_payment_date"), ("dim_date", "date_id")),
        "agreed_delivery_date": ("dim_date", "date_id"),
    },
    "fact_purchase_order": {
        "staff_id": ("dim_staff", "staff_id"),
        "counterparty_id": ("dim_counterparty", "counterparty_id"),
        "currency_id": ("dim_currency", "currency_id"),
        "agreed_delivery_location_id": ("dim_location", "location_id"),
        **dict.fromkeys(("created_date", "last_updated_date", "agreed_payment_date"), ("dim_date", "date_id")),
        "agreed_delivery_date": ("dim_date", "date_id"),
    },
    "fact_payment": {
        "transaction_id": ("dim_transaction", "transaction_id"),
        "counterparty_id": ("dim_counterparty", "counterparty_id"),
        "currency_id": ("dim_currency", "currency_id"),
        "payment_type_id": ("dim_payment_type", "payment_type_id"),
        **dict.fromkeys(("created_date", "last_updated_date", "payment_date"), ("dim_date", "date_id")),
    },
}

Connect = Callable[[], Any]


@dataclass(frozen=True)
class TableCompared:
    """``rows`` of the second computation; ``missing`` ones are not in the warehouse, ``extra`` ones only there."""

    table: str
    rows: int
    missing: int
    extra: int


@dataclass(frozen=True)
class StarCompared:
    """The result of the comparison.

    ``orphans`` are references from facts to missing rows of dimensions. ``silent`` and ``deleted`` are changes that no
    cursor column shows, by source table, as the runs could see them; ``wait_p95_seconds`` is how long the other changes
    waited for a run to read them.
    """

    tables: tuple[TableCompared, ...]
    orphans: int
    silent: Mapping[str, int]
    deleted: Mapping[str, int]
    wait_p95_seconds: Mapping[str, float]

    @property
    def differences(self) -> int:
        """Number of differences of all kinds."""
        return self.orphans + sum(table.missing + table.extra for table in self.tables)


def compare_star(connect_source: Connect, connect_warehouse: Connect) -> StarCompared:
    """``connect_source`` as the owner of the simulated source, which nothing may have changed since the last run."""
    with closing(connect_source()) as source, closing(connect_warehouse()) as warehouse:
        with source.cursor() as at_source, warehouse.cursor() as at_warehouse:
            at_warehouse.execute(RUNS)
            _compute(at_source, at_warehouse.fetchall())
            tables = tuple(_table(at_source, at_warehouse, name) for name in (*FACTS, *DIMENSIONS))
            at_source.execute("SELECT table_name, silent, deleted FROM quiet ORDER BY table_name")
            quiet = at_source.fetchall()
            at_source.execute(WAITS)
            waits = {table: float(seconds) for table, seconds in at_source.fetchall()}
            orphans = sum(_orphans(at_warehouse, fact) for fact in FACTS)
        source.rollback()
    silent, deleted = ({row[0]: row[place] for row in quiet} for place in (1, 2))
    return StarCompared(tables, orphans, silent, deleted, waits)


def _compute(cursor: Any, runs: list[tuple[str, datetime]]) -> None:
    cursor.execute("CREATE TEMPORARY TABLE runs (table_name text, read_at timestamptz) ON COMMIT DROP")
    execute_values(cursor, "INSERT INTO runs VALUES %s", runs)
    cursor.execute(STAR.read_text(encoding="utf-8"))


def _table(at_source: Any, at_warehouse: Any, name: str) -> TableCompared:
    at_source.execute(f"SELECT * FROM {name}")
    columns = [column.name for column in at_source.description]
    expected = set(at_source.fetchall())
    chosen = ["_deleted_at IS NOT NULL" if column == "is_deleted" else column for column in columns]
    is_live = " WHERE _deleted_at IS NULL" if name in DIMENSIONS and name != "dim_date" else ""
    at_warehouse.execute(f"SELECT {', '.join(chosen)} FROM totesys.{name}{is_live}")
    held = at_warehouse.fetchall()
    missing, extra = len(expected - set(held)), len(held) - len(expected & set(held))
    return TableCompared(name, len(expected), missing, extra)


def _orphans(cursor: Any, fact: str) -> int:
    found = 0
    for column, (dimension, key) in REFERENCES[fact].items():
        cursor.execute(ORPHANS.format(fact=fact, dimension=dimension, key=key, column=column))
        found += cursor.fetchone()[0]
    return found
