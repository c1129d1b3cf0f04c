"""What rows of the stock platform must be to get past quarantine."""

from __future__ import annotations

import dataframely as dy
import polars as pl


class Stock(dy.Schema):
    """A stock and its price, which is never negative."""

    stock_id = dy.String(nullable=False, min_length=1)
    price = dy.Decimal(10, 2, nullable=False)

    @dy.rule()
    def price_is_not_negative(cls) -> pl.Expr:
        """A price of nothing occurs, one below does not."""
        return pl.col("price") >= 0


class User(dy.Schema):
    """Somebody who trades."""

    user_id = dy.Int32(nullable=False)
    status = dy.String(nullable=True)

    @dy.rule()
    def status_is_known(cls) -> pl.Expr:
        """Inserted, updated, or there before the column."""
        return pl.col("status").is_in(["I", "U"]) | pl.col("status").is_null()


class StockTransaction(dy.Schema):
    """A trade; of nobody known, where the user was not told."""

    transaction_id = dy.Int32(nullable=False)
    stock_id = dy.String(nullable=False)
