"""Contracts of the tables of the stock platform."""

from __future__ import annotations

import dataframely as dy
import polars as pl


class Stock(dy.Schema):
    """A stock and its price, which is never negative."""

    stock_id = dy.String(nullable=False, min_length=1)
    price = dy.Decimal(10, 2, nullable=False)

    @dy.rule()
    def price_is_not_negative(cls) -> pl.Expr:
        """Check that a price is not negative; zero occurs."""
        return pl.col("price") >= 0


class User(dy.Schema):
    """A person who trades."""

    user_id = dy.Int32(nullable=False)
    status = dy.String(nullable=True)

    @dy.rule()
    def status_is_known(cls) -> pl.Expr:
        """Check that the status is inserted, updated, or NULL as before the column existed."""
        return pl.col("status").is_in(["I", "U"]) | pl.col("status").is_null()


class StockTransaction(dy.Schema):
    """A trade; without a user if the platform does not know the user."""

    transaction_id = dy.Int32(nullable=False)
    stock_id = dy.String(nullable=False)
