"""The star of `stocks`, as functions over rows of the source."""

from __future__ import annotations

import polars as pl


def stock_dim(stock: pl.DataFrame) -> pl.DataFrame:
    """Stocks, by comparison of snapshots."""
    return stock.select("stock_id", "company", "category", "price")


def user_dim(user: pl.DataFrame) -> pl.DataFrame:
    """Users, since when they say."""
    return user.select("user_id", "name", "email", "updated_at")


def transaction_fact(transaction: pl.DataFrame) -> pl.DataFrame:
    """Compute the trades."""
    return transaction.select("transaction_id", "user_id", "stock_id", "quantity", "transaction_date")
