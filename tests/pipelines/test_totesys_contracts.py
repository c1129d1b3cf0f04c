"""What the contracts of `totesys` let in, and that the models can do with it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from millrace import Stream
from millrace.base.types import polars_type
from millrace.contract.rules import reject_by_contract
from millrace.pipelines.totesys import pipeline
from tests.pipelines.totesys_source import MONEY, rows, source_schema

DATES = [
    ("sales_order", "agreed_delivery_date"),
    ("sales_order", "agreed_payment_date"),
    ("purchase_order", "agreed_delivery_date"),
    ("purchase_order", "agreed_payment_date"),
    ("payment", "payment_date"),
]
MODEL_OF = {"sales_order": "fact_sales_order", "purchase_order": "fact_purchase_order", "payment": "fact_payment"}


def reasons(table: str, *changes: dict[str, Any]) -> list[tuple[str, str]]:
    """Why the rows of these changes were rejected: reason and field."""
    stream = pipeline.stream(table)
    assert stream.contract is not None
    accepted, rejected = reject_by_contract(rows(table, *changes), stream.contract, stream, stream.keys)
    assert accepted.height + rejected.height == len(changes)
    return rejected.select("reason", "field").rows()


@pytest.mark.parametrize("stream", pipeline.streams, ids=lambda stream: stream.name)
def test_a_row_as_it_should_be_passes(stream: Stream) -> None:
    assert reasons(stream.name, {}) == []


OPTIONAL = {
    "address": ["address_line_2", "district", "created_at", "last_updated"],
    "counterparty": ["commercial_contact", "delivery_contact", "created_at", "last_updated"],
    "currency": ["created_at", "last_updated"],
    "department": ["location", "manager", "created_at", "last_updated"],
    "design": ["created_at", "last_updated"],
    "staff": ["created_at", "last_updated"],
    "payment_type": ["created_at", "last_updated"],
    "sales_order": [],
    "purchase_order": [],
    "transaction": ["purchase_order_id", "created_at", "last_updated"],
    "payment": ["company_ac_number", "counterparty_ac_number"],
}
"""Columns that the star does not hold or where it takes a NULL (of a sale, for `transaction`)."""


@pytest.mark.parametrize("stream", pipeline.streams, ids=lambda stream: stream.name)
def test_null_passes_only_where_the_star_takes_it(stream: Stream) -> None:
    passing = [name for name in source_schema(stream.name) if not reasons(stream.name, {name: None})]
    assert sorted(passing) == sorted(OPTIONAL[stream.name])


@pytest.mark.parametrize(("table", "column"), DATES)
@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29", "2024-13-01", "2024-00-10", "2024-1-1", " 2024-01-01", "2024-01-01 ", "2024- 1- 1", "20240101",
        "+2024-01-01", "-2024-01-01", "01/01/2024", "2024-01-01T00:00:00", "", "NULL", "None", "0000-01-01",
        "10000-01-01", "２０２４-01-01",
    ],
)  # fmt: skip
def test_a_text_that_is_no_date_is_rejected_and_stops_no_other(table: str, column: str, text: str) -> None:
    assert reasons(table, {}, {column: text}, {}) == [("contract_check__date", column)]


@pytest.mark.parametrize(("table", "column"), DATES)
def test_every_date_of_the_calendar_passes_and_is_a_date_in_the_star(table: str, column: str) -> None:
    texts = ["0001-01-01", "1999-12-31", "2024-02-29", "2026-08-26", "9999-12-31"]
    assert reasons(table, *({column: text} for text in texts)) == []
    made = pipeline.find(MODEL_OF[table]).function(rows(table, *({column: text} for text in texts)))
    assert made[column].cast(pl.String).to_list() == texts


@pytest.mark.parametrize(
    ("change", "rejected"),
    [
        ({"sales_order_id": 1, "purchase_order_id": 2}, [("contract_exactly_one_order", "")]),
        ({"sales_order_id": None, "purchase_order_id": None}, [("contract_exactly_one_order", "")]),
        ({"sales_order_id": None, "purchase_order_id": 2, "transaction_type": "PURCHASE"}, []),
        ({"transaction_type": "sale"}, [("contract_check__type", "transaction_type")]),
        ({"transaction_type": "GIFT"}, [("contract_check__type", "transaction_type")]),
        ({"transaction_type": ""}, [("contract_check__type", "transaction_type")]),
    ],
)
def test_transactions(change: dict[str, Any], rejected: list[tuple[str, str]]) -> None:
    assert reasons("transaction", change) == rejected


@pytest.mark.parametrize("amount", ["99999999.99", "-99999999.99", "0.00", "-0.01"])
def test_amounts_of_any_sign_pass(amount: str) -> None:
    assert reasons("payment", {"payment_amount": Decimal(amount)}) == []


@pytest.mark.parametrize(
    ("table", "column"),
    [("sales_order", "unit_price"), ("purchase_order", "item_unit_price"), ("payment", "payment_amount")],
)
def test_amounts_are_declared_as_the_star_holds_them(table: str, column: str) -> None:
    """A source whose column is a plain numeric gives the same type; what does not fit is rejected when it is read."""
    assert polars_type(pipeline.stream(table).types[column]) == MONEY
