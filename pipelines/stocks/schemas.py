"""Tables of the star of `stocks`, apart from the columns that their load modes add."""

from __future__ import annotations

import dataframely as dy


class StockDim(dy.Schema):
    """A version of a stock; the load mode adds stock_key, start_date, end_date, is_current."""

    stock_id = dy.String(nullable=False)
    company = dy.String(nullable=False)
    category = dy.String(nullable=False)
    price = dy.Decimal(10, 2, nullable=False)


class UserDim(dy.Schema):
    """A user as he was for a while; with user_key, start_date (from ``updated_at``), end_date, is_current."""

    user_id = dy.Int32(nullable=False)
    name = dy.String(nullable=False)
    email = dy.String(nullable=False)
    updated_at = dy.Datetime(nullable=True)


class TransactionFact(dy.Schema):
    """A trade, with the platform's wall clock time; the binds add user_key and stock_key, the versions of its time."""

    transaction_id = dy.Int32(nullable=False)
    user_id = dy.Int32(nullable=True)
    stock_id = dy.String(nullable=False)
    quantity = dy.Int32(nullable=False)
    transaction_date = dy.Datetime(nullable=True)
