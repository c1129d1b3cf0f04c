"""The models of the pipeline `totesys`: one pure function per table of the warehouse, named like it.

Parameters name the inputs. `sales_order`, `purchase_order`, `payment` and `transaction` hold changed rows, in chunks,
so what is made of them depends on one row at a time; the other tables are whole. Values are copied, not corrected;
rules for what is missing are in docs/totesys.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import polars.selectors as cs
import pycountry

from millrace.pipelines.totesys.contracts import DATE_FORMAT
from millrace.pipelines.totesys.schemas import (
    DimCounterparty,
    DimCurrency,
    DimDate,
    DimDesign,
    DimPaymentType,
    DimStaff,
    DimTransaction,
    FactPayment,
    FactPurchaseOrder,
    FactSalesOrder,
)

UNKNOWN = "Unknown"
"""The text for a column that must have one although the source has none."""
CURRENCY_NAMES = {currency.alpha_3: currency.name for currency in pycountry.currencies}
"""ISO 4217, codes in use."""
LEGAL_ADDRESS = {
    "address_line_1": "counterparty_legal_address_line_1",
    "address_line_2": "counterparty_legal_address_line_2",
    "district": "counterparty_legal_district",
    "city": "counterparty_legal_city",
    "postal_code": "counterparty_legal_postal_code",
    "country": "counterparty_legal_country",
    "phone": "counterparty_legal_phone_number",
}
OPTIONAL_IN_ADDRESS = frozenset({"address_line_2", "district"})


def fact_sales_order(sales_order: pl.DataFrame) -> pl.DataFrame:
    """Sales orders, their stamps split into date and time."""
    dates = _dates("agreed_payment_date", "agreed_delivery_date")
    named = sales_order.rename({"staff_id": "sales_staff_id"})
    return named.with_columns(*_split_stamps(), *dates).select(FactSalesOrder.column_names())


def fact_purchase_order(purchase_order: pl.DataFrame) -> pl.DataFrame:
    """Purchase orders, their stamps split into date and time."""
    dates = _dates("agreed_payment_date", "agreed_delivery_date")
    return purchase_order.with_columns(*_split_stamps(), *dates).select(FactPurchaseOrder.column_names())


def fact_payment(payment: pl.DataFrame) -> pl.DataFrame:
    """Payments, their stamps split into date and time."""
    return payment.with_columns(*_split_stamps(), *_dates("payment_date")).select(FactPayment.column_names())


def dim_transaction(transaction: pl.DataFrame) -> pl.DataFrame:
    """Compute the dimension of transactions."""
    return transaction.select(DimTransaction.column_names())


def dim_staff(staff: pl.DataFrame, department: pl.DataFrame) -> pl.DataFrame:
    """Staff with name and location of their department."""
    departments = department.select("department_id", "department_name", "location")
    joined = staff.join(departments, on="department_id", how="left", validate="m:1")
    return joined.with_columns(pl.col("department_name", "location").fill_null(UNKNOWN)).select(DimStaff.column_names())


def dim_payment_type(payment_type: pl.DataFrame) -> pl.DataFrame:
    """Compute the dimension of kinds of payment."""
    return payment_type.select(DimPaymentType.column_names())


def dim_location(address: pl.DataFrame) -> pl.DataFrame:
    """Compute the dimension of addresses."""
    return address.select(pl.col("address_id").alias("location_id"), *LEGAL_ADDRESS)


def dim_design(design: pl.DataFrame) -> pl.DataFrame:
    """Compute the dimension of products."""
    return design.select(DimDesign.column_names())


def dim_currency(currency: pl.DataFrame) -> pl.DataFrame:
    """Currencies with their names in ISO 4217."""
    name = pl.col("currency_code").replace_strict(CURRENCY_NAMES, default=UNKNOWN, return_dtype=pl.String)
    return currency.with_columns(currency_name=name).select(DimCurrency.column_names())


def dim_counterparty(counterparty: pl.DataFrame, address: pl.DataFrame) -> pl.DataFrame:
    """Compute customers and suppliers with their legal address."""
    addresses = address.select(pl.col("address_id").alias("legal_address_id"), *LEGAL_ADDRESS).rename(LEGAL_ADDRESS)
    required = [legal for name, legal in LEGAL_ADDRESS.items() if name not in OPTIONAL_IN_ADDRESS]
    joined = counterparty.join(addresses, on="legal_address_id", how="left", validate="m:1")
    return joined.with_columns(pl.col(required).fill_null(UNKNOWN)).select(DimCounterparty.column_names())


def dim_date(
    fact_sales_order: pl.DataFrame, fact_purchase_order: pl.DataFrame, fact_payment: pl.DataFrame
) -> pl.DataFrame:
    """Every date in any column of the facts, once."""
    facts = (fact_sales_order, fact_purchase_order, fact_payment)
    dates = pl.concat([dates.alias("date_id") for fact in facts for dates in fact.select(cs.date())])
    return dates.unique().sort().to_frame().with_columns(_parts_of_date()).select(DimDate.column_names())


def _split_stamps() -> Iterator[pl.Expr]:
    for stamp, name in (("created_at", "created"), ("last_updated", "last_updated")):
        yield pl.col(stamp).dt.date().alias(f"{name}_date")
        yield pl.col(stamp).dt.time().alias(f"{name}_time")


def _dates(*names: str) -> Iterator[pl.Expr]:
    # Strict: what is no date was rejected by the contract, and must not become NULL here.
    return (pl.col(name).str.to_date(DATE_FORMAT) for name in names)


def _parts_of_date() -> list[pl.Expr]:
    day = pl.col("date_id")
    numbers = {
        "year": day.dt.year(),
        "month": day.dt.month(),
        "day": day.dt.day(),
        "day_of_week": day.dt.weekday(),
        "quarter": day.dt.quarter(),
    }
    # English whatever the process's locale: Polars formats by tables of its own.
    names = {"day_name": day.dt.strftime("%A"), "month_name": day.dt.strftime("%B")}
    return [number.cast(pl.Int32).alias(name) for name, number in numbers.items()] + [
        text.alias(name) for name, text in names.items()
    ]
