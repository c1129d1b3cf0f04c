"""Contracts of the source tables of the pipeline `totesys`, as its star schemas need them.

Only columns that a model uses are named; none may be NULL unless its contract says so. A row that breaks a rule is
rejected and stops no other row.
"""

from __future__ import annotations

import dataframely as dy
import polars as pl

DATE_FORMAT = "%Y-%m-%d"
_DATE_SHAPE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


def is_date(text: pl.Expr) -> pl.Expr:
    """Check that a text is a day of the calendar from year 1 on, written yyyy-mm-dd."""
    day = text.str.to_date(DATE_FORMAT, strict=False)
    # The shape is checked as well: the parser also takes signs, blanks and single digits.
    return text.str.contains(_DATE_SHAPE) & day.is_not_null() & (day.dt.year() >= 1)


def _date_text() -> dy.String:
    return dy.String(check={"date": is_date})


class Address(dy.Schema):
    """A postal address; second line and district may be missing."""

    address_id = dy.Int32()
    address_line_1 = dy.String()
    address_line_2 = dy.String(nullable=True)
    district = dy.String(nullable=True)
    city = dy.String()
    postal_code = dy.String()
    country = dy.String()
    phone = dy.String()


class Counterparty(dy.Schema):
    """A customer or supplier."""

    counterparty_id = dy.Int32()
    counterparty_legal_name = dy.String()
    legal_address_id = dy.Int32()


class Currency(dy.Schema):
    """A currency of the source."""

    currency_id = dy.Int32()
    currency_code = dy.String()


class Department(dy.Schema):
    """A department; its location may be missing."""

    department_id = dy.Int32()
    department_name = dy.String()
    location = dy.String(nullable=True)


class Design(dy.Schema):
    """A product of the source."""

    design_id = dy.Int32()
    design_name = dy.String()
    file_location = dy.String()
    file_name = dy.String()


class Staff(dy.Schema):
    """A member of staff."""

    staff_id = dy.Int32()
    first_name = dy.String()
    last_name = dy.String()
    department_id = dy.Int32()
    email_address = dy.String()


class PaymentType(dy.Schema):
    """The purpose of a payment."""

    payment_type_id = dy.Int32()
    payment_type_name = dy.String()


class SalesOrder(dy.Schema):
    """An order that was received."""

    sales_order_id = dy.Int32()
    created_at = dy.Datetime(time_unit="us")
    last_updated = dy.Datetime(time_unit="us")
    design_id = dy.Int32()
    staff_id = dy.Int32()
    counterparty_id = dy.Int32()
    units_sold = dy.Int32()
    unit_price = dy.Decimal(10, 2)
    currency_id = dy.Int32()
    agreed_delivery_date = _date_text()
    agreed_payment_date = _date_text()
    agreed_delivery_location_id = dy.Int32()


class PurchaseOrder(dy.Schema):
    """An order that was placed."""

    purchase_order_id = dy.Int32()
    created_at = dy.Datetime(time_unit="us")
    last_updated = dy.Datetime(time_unit="us")
    staff_id = dy.Int32()
    counterparty_id = dy.Int32()
    item_code = dy.String()
    item_quantity = dy.Int32()
    item_unit_price = dy.Decimal(10, 2)
    currency_id = dy.Int32()
    agreed_delivery_date = _date_text()
    agreed_payment_date = _date_text()
    agreed_delivery_location_id = dy.Int32()


class Payment(dy.Schema):
    """A payment that was agreed, made or not."""

    payment_id = dy.Int32()
    created_at = dy.Datetime(time_unit="us")
    last_updated = dy.Datetime(time_unit="us")
    transaction_id = dy.Int32()
    counterparty_id = dy.Int32()
    payment_amount = dy.Decimal(10, 2)
    currency_id = dy.Int32()
    payment_type_id = dy.Int32()
    paid = dy.Bool()
    payment_date = _date_text()


class TotesysTransaction(dy.Schema):
    """Connects a payment with its order."""

    transaction_id = dy.Int32()
    transaction_type = dy.String(check={"type": lambda text: text.is_in(["SALE", "PURCHASE"])})
    sales_order_id = dy.Int32(nullable=True)
    purchase_order_id = dy.Int32(nullable=True)

    @dy.rule()
    def exactly_one_order(cls) -> pl.Expr:
        """Check that a transaction belongs to either a sales order or a purchase order."""
        return cls.sales_order_id.col.is_null() != cls.purchase_order_id.col.is_null()
