"""Contracts of the pipeline `stori`, which its import and the engine both use."""

from __future__ import annotations

import dataframely as dy
import polars as pl

DETAILS_MAX_CHARACTERS = 255


class TransactionRecord(dy.Schema):
    """A bank transaction as a file states it."""

    account_no = dy.Int64(nullable=False)
    date = dy.Date(nullable=False)
    # A check of its own: max_length counts bytes, varchar(255) of the source counts characters.
    transaction_details = dy.String(
        nullable=True, check={"max_characters": lambda text: text.str.len_chars() <= DETAILS_MAX_CHARACTERS}
    )
    chip_used = dy.Bool(nullable=False)
    value_date = dy.Date(nullable=False)
    withdrawal_amt = dy.Decimal(12, 2, nullable=True)
    deposit_amt = dy.Decimal(12, 2, nullable=True)
    balance_amt = dy.Decimal(14, 2, nullable=False)

    @dy.rule()
    def exactly_one_amount(cls) -> pl.Expr:
        """Money goes either out or in."""
        return cls.withdrawal_amt.col.is_null() != cls.deposit_amt.col.is_null()


class Transaction(TransactionRecord):
    """A row of the table ``transactions``: the record and what the database adds to it."""

    transaction_no = dy.Int64(primary_key=True)
    created_at = dy.Datetime(time_unit="us", time_zone="UTC", nullable=False)
    updated_at = dy.Datetime(time_unit="us", time_zone="UTC", nullable=False)
