"""`totesys`: the back office of a shop in Postgres, as three star schemas with shared dimensions, every twenty minutes.

What does not belong here: contracts of the source (contracts.py), tables of the warehouse (schemas.py), how they are
computed (models.py), views for analysts (sql/totesys/views.sql).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import dataframely as dy
import polars as pl

from millrace import History, Incremental, Model, Pipeline, Snapshot, Stream, decimal
from millrace.pipelines.totesys import contracts as contracts
from millrace.pipelines.totesys import models as models
from millrace.pipelines.totesys import schemas as schemas

MONEY = decimal(10, 2)
SOURCE = "postgres/totesys:public."
STAMP = "last_updated"


def reference_table(name: str, contract: type[dy.Schema]) -> Stream:
    """Declare a small table that every run reads completely."""
    return Stream(name, source=SOURCE + name, key=f"{name}_id", capture=Snapshot(stamp=STAMP), contract=contract)


def growing_table(name: str, contract: type[dy.Schema], *money: str) -> Stream:
    """Declare a table that is read by its timestamp column.

    It is swept at every run, because the source changes rows without setting that column. A value of the columns
    ``money`` with more than two decimals or more than ten digits is rejected.
    """
    return Stream(
        name,
        source=SOURCE + name,
        key=f"{name}_id",
        capture=Incremental(STAMP),
        contract=contract,
        types=dict.fromkeys(money, MONEY),
        sweep="every run",
    )


def fact(
    function: Callable[..., pl.DataFrame], schema: type[dy.Schema], key: str, record_id: str, **references: str
) -> Model:
    """Declare a table with every version of its rows."""
    return Model(function, schema, key, load=History(record_id), references=references)


def dimension(function: Callable[..., pl.DataFrame], schema: type[dy.Schema], key: str) -> Model:
    """Declare a table with the latest state of its rows.

    If only the key of a row is known, its texts are unknown.
    """
    required = {name for name, column in schema.columns().items() if not column.nullable} - {key}
    return Model(function, schema, key, unknown=dict.fromkeys(sorted(required), models.UNKNOWN))


pipeline = Pipeline(
    name="totesys",
    schedule="*/20 * * * *",
    schema="totesys_source",
    model_schema="totesys",
    landing="csv",
    fresh_within=timedelta(minutes=30),
    views="totesys/views.sql",
    streams=[
        reference_table("address", contracts.Address),
        reference_table("counterparty", contracts.Counterparty),
        reference_table("currency", contracts.Currency),
        reference_table("department", contracts.Department),
        reference_table("design", contracts.Design),
        reference_table("staff", contracts.Staff),
        reference_table("payment_type", contracts.PaymentType),
        growing_table("sales_order", contracts.SalesOrder, "unit_price"),
        growing_table("purchase_order", contracts.PurchaseOrder, "item_unit_price"),
        growing_table("transaction", contracts.TotesysTransaction),
        growing_table("payment", contracts.Payment, "payment_amount"),
    ],
    models=[
        dimension(models.dim_staff, schemas.DimStaff, "staff_id"),
        dimension(models.dim_counterparty, schemas.DimCounterparty, "counterparty_id"),
        dimension(models.dim_location, schemas.DimLocation, "location_id"),
        dimension(models.dim_currency, schemas.DimCurrency, "currency_id"),
        dimension(models.dim_design, schemas.DimDesign, "design_id"),
        dimension(models.dim_payment_type, schemas.DimPaymentType, "payment_type_id"),
        dimension(models.dim_transaction, schemas.DimTransaction, "transaction_id"),
        fact(
            models.fact_sales_order,
            schemas.FactSalesOrder,
            "sales_order_id",
            "sales_record_id",
            sales_staff_id="dim_staff",
            counterparty_id="dim_counterparty",
            currency_id="dim_currency",
            design_id="dim_design",
            agreed_delivery_location_id="dim_location",
        ),
        fact(
            models.fact_purchase_order,
            schemas.FactPurchaseOrder,
            "purchase_order_id",
            "purchase_record_id",
            staff_id="dim_staff",
            counterparty_id="dim_counterparty",
            currency_id="dim_currency",
            agreed_delivery_location_id="dim_location",
        ),
        fact(
            models.fact_payment,
            schemas.FactPayment,
            "payment_id",
            "payment_record_id",
            transaction_id="dim_transaction",
            counterparty_id="dim_counterparty",
            currency_id="dim_currency",
            payment_type_id="dim_payment_type",
        ),
        # A date that no fact uses any more is still a date.
        Model(models.dim_date, schemas.DimDate, "date_id", deletes="ignore", union=True),
    ],
)
