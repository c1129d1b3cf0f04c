"""An order with its transaction and its payment: three rows of one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from millrace.seed_data.totesys.chance import Chance
from millrace.seed_data.totesys.reference import ADDRESSES, COUNTERPARTIES, CURRENCIES, STAFF
from millrace.seed_data.totesys.world import Row, RowChange, insert_stamped_row

FAR_DELIVERY_SHARE, REFUND_SHARE = 0.003, 0.02
LONGEST_DELIVERY_DAYS = 650
ITEM_CODE_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass
class Order:
    """An order. ``key`` is that of its transaction and its payment, ``order_key`` that of the order itself."""

    key: int
    order_key: int
    is_sale: bool
    moment: datetime
    design_id: int


def order_changes(order: Order, seed: int) -> list[RowChange]:
    """Return the inserts of the order, its transaction and its payment."""
    chance = Chance(seed, "order", order.key)
    table = "sales_order" if order.is_sale else "purchase_order"
    goods, amount = _sold(chance, order.design_id) if order.is_sale else _bought(chance)
    row = {f"{table}_id": order.order_key, **goods, **_draw_agreement(chance, order.moment)}
    return [
        insert_stamped_row(table, order.moment, row),
        insert_stamped_row("transaction", order.moment, _transaction(order)),
        insert_stamped_row("payment", order.moment, _payment(order, chance, row, amount)),
    ]


def _sold(chance: Chance, design: int) -> tuple[Row, Decimal]:
    units, price = chance.integer(1_000, 100_000), chance.money(200, 400)
    return {"design_id": design, "units_sold": units, "unit_price": price}, units * price


def _bought(chance: Chance) -> tuple[Row, Decimal]:
    quantity, price = chance.integer(1, 1_000), chance.money(100, 100_000)
    code = chance.text(ITEM_CODE_LETTERS, 7)
    return {"item_code": code, "item_quantity": quantity, "item_unit_price": price}, quantity * price


def _draw_agreement(chance: Chance, moment: datetime) -> Row:
    longest_days = LONGEST_DELIVERY_DAYS if chance.happens(FAR_DELIVERY_SHARE) else 7
    return {
        "staff_id": chance.integer(1, STAFF),
        "counterparty_id": chance.integer(1, COUNTERPARTIES),
        "currency_id": chance.integer(1, len(CURRENCIES)),
        "agreed_delivery_date": _date_text(moment, chance.integer(0, longest_days)),
        "agreed_payment_date": _date_text(moment, chance.integer(0, 6)),
        "agreed_delivery_location_id": chance.integer(1, ADDRESSES),
    }


def _date_text(moment: datetime, later_days: int) -> str:
    return (moment + timedelta(days=later_days)).date().isoformat()


def _transaction(order: Order) -> Row:
    return {
        "transaction_id": order.key,
        "transaction_type": "SALE" if order.is_sale else "PURCHASE",
        "sales_order_id": order.order_key if order.is_sale else None,
        "purchase_order_id": None if order.is_sale else order.order_key,
    }


def _payment(order: Order, chance: Chance, agreed: Row, amount: Decimal) -> Row:
    return {
        "payment_id": order.key,
        "transaction_id": order.key,
        "counterparty_id": agreed["counterparty_id"],
        "payment_amount": amount,
        "currency_id": agreed["currency_id"],
        "payment_type_id": (1 if order.is_sale else 3) + chance.happens(REFUND_SHARE),
        "paid": False,
        "payment_date": agreed["agreed_payment_date"],
        "company_ac_number": chance.integer(10_000_000, 99_999_999),
        "counterparty_ac_number": chance.integer(10_000_000, 99_999_999),
    }
