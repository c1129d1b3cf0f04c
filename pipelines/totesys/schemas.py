"""Schemas of the tables of the star schemas of the pipeline `totesys`."""

from __future__ import annotations

import dataframely as dy


class FactSalesOrder(dy.Schema):
    """Every version of every sales order."""

    sales_order_id = dy.Int32()
    created_date = dy.Date()
    created_time = dy.Time()
    last_updated_date = dy.Date()
    last_updated_time = dy.Time()
    sales_staff_id = dy.Int32()
    counterparty_id = dy.Int32()
    units_sold = dy.Int32()
    unit_price = dy.Decimal(10, 2)
    currency_id = dy.Int32()
    design_id = dy.Int32()
    agreed_payment_date = dy.Date()
    agreed_delivery_date = dy.Date()
    agreed_delivery_location_id = dy.Int32()


class FactPurchaseOrder(dy.Schema):
    """Every version of every purchase order."""

    purchase_order_id = dy.Int32()
    created_date = dy.Date()
    created_time = dy.Time()
    last_updated_date = dy.Date()
    last_updated_time = dy.Time()
    staff_id = dy.Int32()
    counterparty_id = dy.Int32()
    item_code = dy.String()
    item_quantity = dy.Int32()
    item_unit_price = dy.Decimal(10, 2)
    currency_id = dy.Int32()
    agreed_delivery_date = dy.Date()
    agreed_payment_date = dy.Date()
    agreed_delivery_location_id = dy.Int32()


class FactPayment(dy.Schema):
    """Every version of every payment."""

    payment_id = dy.Int32()
    created_date = dy.Date()
    created_time = dy.Time()
    last_updated_date = dy.Date()
    last_updated_time = dy.Time()
    transaction_id = dy.Int32()
    counterparty_id = dy.Int32()
    payment_amount = dy.Decimal(10, 2)
    currency_id = dy.Int32()
    payment_type_id = dy.Int32()
    paid = dy.Bool()
    payment_date = dy.Date()


class DimTransaction(dy.Schema):
    """Transactions: exactly one of the two orders is set."""

    transaction_id = dy.Int32()
    transaction_type = dy.String()
    sales_order_id = dy.Int32(nullable=True)
    purchase_order_id = dy.Int32(nullable=True)


class DimStaff(dy.Schema):
    """Staff with their department."""

    staff_id = dy.Int32()
    first_name = dy.String()
    last_name = dy.String()
    department_name = dy.String()
    location = dy.String()
    email_address = dy.String()


class DimPaymentType(dy.Schema):
    """The dimension of kinds of payment."""

    payment_type_id = dy.Int32()
    payment_type_name = dy.String()


class DimLocation(dy.Schema):
    """The dimension of addresses."""

    location_id = dy.Int32()
    address_line_1 = dy.String()
    address_line_2 = dy.String(nullable=True)
    district = dy.String(nullable=True)
    city = dy.String()
    postal_code = dy.String()
    country = dy.String()
    phone = dy.String()


class DimDesign(dy.Schema):
    """The dimension of products."""

    design_id = dy.Int32()
    design_name = dy.String()
    file_location = dy.String()
    file_name = dy.String()


class DimDate(dy.Schema):
    """Every date that a fact refers to. Monday is day 1 of the week."""

    date_id = dy.Date()
    year = dy.Int32()
    month = dy.Int32()
    day = dy.Int32()
    day_of_week = dy.Int32()
    day_name = dy.String()
    month_name = dy.String()
    quarter = dy.Int32()


class DimCurrency(dy.Schema):
    """Currencies with their names in ISO 4217."""

    currency_id = dy.Int32()
    currency_code = dy.String()
    currency_name = dy.String()


class DimCounterparty(dy.Schema):
    """Customers and suppliers with their legal address."""

    counterparty_id = dy.Int32()
    counterparty_legal_name = dy.String()
    counterparty_legal_address_line_1 = dy.String()
    counterparty_legal_address_line_2 = dy.String(nullable=True)
    counterparty_legal_district = dy.String(nullable=True)
    counterparty_legal_city = dy.String()
    counterparty_legal_postal_code = dy.String()
    counterparty_legal_country = dy.String()
    counterparty_legal_phone_number = dy.String()
