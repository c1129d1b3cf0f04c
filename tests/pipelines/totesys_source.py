"""Rows of the source of `totesys` as the engine hands them to models: typed, with defaults that a test overrides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl

MONEY = pl.Decimal(10, 2)
STAMP = datetime(2024, 11, 14, 10, 9, 10, 186_000)  # noqa: DTZ001 - the source's stamps are without zone
STAMPS: dict[str, Any] = {"created_at": STAMP, "last_updated": STAMP}
ORDER: dict[str, Any] = {
    "staff_id": 7,
    "counterparty_id": 2,
    "currency_id": 1,
    "agreed_delivery_date": "2024-11-20",
    "agreed_payment_date": "2024-11-18",
    "agreed_delivery_location_id": 3,
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "address": {
        "address_id": 1,
        "address_line_1": "6826 Herzog Via",
        "address_line_2": None,
        "district": "Avon",
        "city": "New Patienceburgh",
        "postal_code": "28441",
        "country": "Turkey",
        "phone": "1803 637401",
    },
    "counterparty": {
        "counterparty_id": 2,
        "counterparty_legal_name": "Leannon, Predovic and Morar",
        "legal_address_id": 1,
        "commercial_contact": "Melba Sanford",
        "delivery_contact": None,
    },
    "currency": {"currency_id": 1, "currency_code": "GBP"},
    "department": {"department_id": 4, "department_name": "Purchasing", "location": "Leds", "manager": "Jules Le"},
    "design": {"design_id": 5, "design_name": "Bronze", "file_location": "/private", "file_name": "bronze.json"},
    "staff": {
        "staff_id": 7,
        "first_name": "Jeremie",
        "last_name": "O'Keefe",
        "department_id": 4,
        "email_address": "jeremie.o'keefe@example.com",
    },
    "payment_type": {"payment_type_id": 1, "payment_type_name": "SALES_RECEIPT"},
    "sales_order": {
        "sales_order_id": 11,
        "design_id": 5,
        "units_sold": 100,
        "unit_price": Decimal("2.43"),
        **ORDER,
    },
    "purchase_order": {
        "purchase_order_id": 12,
        "item_code": "ZDOI5EA",
        "item_quantity": 371,
        "item_unit_price": Decimal("361.39"),
        **ORDER,
    },
    "transaction": {
        "transaction_id": 13,
        "transaction_type": "SALE",
        "sales_order_id": 11,
        "purchase_order_id": None,
    },
    "payment": {
        "payment_id": 14,
        "transaction_id": 13,
        "counterparty_id": 2,
        "payment_amount": Decimal("243.00"),
        "currency_id": 1,
        "payment_type_id": 1,
        "paid": False,
        "payment_date": "2024-11-18",
        "company_ac_number": 67_305_075,
        "counterparty_ac_number": 31_622_269,
    },
}
OPTIONAL_NUMBERS = frozenset({"sales_order_id", "purchase_order_id"})


def source_schema(table: str) -> dict[str, pl.DataType]:
    """Columns of the table with their types in frames."""
    return {name: _type(name, value) for name, value in (DEFAULTS[table] | STAMPS).items()}


def rows(table: str, *changes: Mapping[str, Any]) -> pl.DataFrame:
    """One row per mapping: the table's default row with those values in their columns."""
    full = [{**DEFAULTS[table], **STAMPS, **change} for change in changes]
    return pl.DataFrame(full, schema=source_schema(table), orient="row")


def empty(table: str) -> pl.DataFrame:
    """The table without rows."""
    return rows(table)


def _type(name: str, value: Any) -> pl.DataType:
    if name in OPTIONAL_NUMBERS:
        return pl.Int32()
    types = {bool: pl.Boolean(), int: pl.Int32(), Decimal: MONEY, datetime: pl.Datetime("us")}
    return types.get(type(value), pl.String())
