"""What a contract may say: rules of single rows. Checked when a stream is declared.

A chunk is a part of a table that memory bounds cut off, and a message may come twice: a rule over several rows would
judge a row by its neighbours in the chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dataframely as dy
import polars as pl

from millrace.base.errors import ConfigurationError, UnmappableType
from millrace.base.naming import column_name
from millrace.base.types import from_polars

KEY_RULE = "primary_key"
"""Dataframely's name of the rule that a key comes once."""


def check_contract(contract: type[dy.Schema], keys: Sequence[str], place: str) -> None:
    """Raises ConfigurationError when a column of the contract cannot be in the target, its key is not the stream's
    (``keys``, by column), or a rule looks at more than one row."""
    for name, column in contract.columns().items():
        _check_column(name, column, place)
    if (own := contract.primary_key()) and set(own) != set(keys):
        raise ConfigurationError(
            f"the contract's primary key is {', '.join(own)}, the stream's key is {', '.join(keys) or 'none'}",
            place=place,
            remedy="declare one key: it is the stream's that is checked",
        )
    schema = {name: column.dtype for name, column in contract.columns().items()}
    # Dataframely gives the rules of a schema's own methods nowhere else.
    for name, rule in contract._validation_rules(with_cast=False).items():
        if name != KEY_RULE and not _is_of_one_row(name, rule.expr, schema, place):
            raise ConfigurationError(
                f"rule {name!r} of the contract looks at several rows, and a row is checked by itself",
                place=place,
                remedy="leave the rule out and check it on the target; a repeated key is reported without it. For a "
                "function of Polars' map_batches, say is_elementwise=True where it is so",
            )


def is_row_by_row(expression: pl.Expr, schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> bool:
    """Whether what it gives for a row depends on that row alone: only then does Polars compute it after a slice
    instead of before. Raises PolarsError when the expression does not fit ``schema``."""
    plan = pl.LazyFrame(schema=dict(schema)).with_columns(expression.alias("_given")).slice(1, 1).explain()
    return not plan.startswith("SLICE")


def _check_column(name: str, column: dy.Column, place: str) -> None:
    if column_name(name) != name:
        raise ConfigurationError(
            f"the contract's column {name!r} is no name of a column of the target",
            place=place,
            remedy=f"write {column_name(name)!r}, see docs/naming.md",
        )
    try:
        from_polars(column.dtype)
    except UnmappableType as error:
        raise ConfigurationError(
            f"column {name!r} of the contract: {error.problem}", place=place, remedy=error.remedy
        ) from None


def _is_of_one_row(name: str, rule: pl.Expr, schema: Mapping[str, pl.DataType], place: str) -> bool:
    try:
        return is_row_by_row(rule, schema)
    except pl.exceptions.PolarsError as error:
        raise ConfigurationError(
            f"rule {name!r} of the contract does not fit its columns ({type(error).__name__})",
            place=place,
            remedy="use columns that the contract has, in operations of their type",
        ) from None
