"""Check a contract when its stream is declared: its rules may look at single rows only.

Where a chunk of a table ends depends on memory, and a message may come twice: a rule over several rows would judge a
row by the rows that happen to lie in the same chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dataframely as dy
import polars as pl

from millrace.base.errors import ConfigurationError, UnmappableType
from millrace.base.naming import column_name
from millrace.base.types import from_polars

KEY_RULE = "primary_key"
"""Dataframely's name of the rule that no key is repeated."""


def check_contract(contract: type[dy.Schema], keys: Sequence[str], place: str) -> None:
    """Raise ConfigurationError if a contract does not fit its stream.

    That is so if a column cannot be in the target, its key is not that of the stream (``keys``, names of columns), or a
    rule looks at several rows.
    """
    for name, column in contract.columns().items():
        _check_column(name, column, place)
    if (contract_key := contract.primary_key()) and set(contract_key) != set(keys):
        raise ConfigurationError(
            f"the contract's primary key is {', '.join(contract_key)}, the stream's key is {', '.join(keys) or 'none'}",
            place=place,
            remedy="declare the same key; the load checks the stream's",
        )
    schema = {name: column.dtype for name, column in contract.columns().items()}
    # Dataframely has no public function that returns the rules of a schema's own methods.
    for name, rule in contract._validation_rules(with_cast=False).items():
        if name != KEY_RULE and not _is_of_one_row(name, rule.expr, schema, place):
            raise ConfigurationError(
                f"rule {name!r} of the contract looks at several rows, and each row is checked alone",
                place=place,
                remedy="remove the rule and check it on the target; a repeated key is reported without it. For a "
                "function in Polars' map_batches, pass is_elementwise=True if that is true",
            )


def is_row_by_row(expression: pl.Expr, schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> bool:
    """Return whether the value of an expression for a row depends on that row alone.

    Only then does Polars compute it after a slice, not before. Raises PolarsError if the expression does not fit
    ``schema``.
    """
    plan = pl.LazyFrame(schema=dict(schema)).with_columns(expression.alias("_given")).slice(1, 1).explain()
    return not plan.startswith("SLICE")


def _check_column(name: str, column: dy.Column, place: str) -> None:
    if column_name(name) != name:
        raise ConfigurationError(
            f"the contract's column {name!r} is not a name that a column of the target can have",
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
