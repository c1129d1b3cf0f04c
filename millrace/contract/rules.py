"""A contract (a dataframely schema), applied to a chunk: rows meet it, or are rejected with a reason."""

from __future__ import annotations

from collections.abc import Sequence

import dataframely as dy
import polars as pl

from millrace.base.errors import SchemaConflict
from millrace.base.rejects import REASON_SEPARATOR, as_rejects, no_rejects
from millrace.declaration.contract_rules import KEY_RULE
from millrace.declaration.stream import Stream

_ROW = "row of the chunk"
_RULES_SUFFIX = "|"


def reject_by_contract(
    frame: pl.DataFrame, contract: type[dy.Schema], stream: Stream, keys: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that meet a stream's contract, and the others as rejects (``contract_<rule>``).

    Columns that the contract does not name are not checked. Raises SchemaConflict when a column of the contract is not
    in the frame or is of another type: then no row could meet it.
    """
    checked = _add_missing_fields(frame, contract, stream)
    _check_shape(checked, contract, stream)
    return reject_by_rules(frame, checked, contract, keys)


def reject_by_rules(
    frame: pl.DataFrame, checked: pl.DataFrame, contract: type[dy.Schema], keys: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows of ``frame`` that meet the rules of a schema, and the others as rejects.

    ``checked`` are the same rows with every column of the schema, in its types.
    """
    indexed: type[dy.Schema] = type(contract.__name__, (contract,), {"row": dy.UInt32(alias=_ROW)})
    numbered = frame.with_row_index(_ROW)
    _, failure = indexed.filter(checked.with_row_index(_ROW).select(_ROW, *contract.column_names()))
    failed = _find_failed_rows(failure, contract) if len(failure) else pl.DataFrame()
    if not failed.height:
        return frame, no_rejects()
    verdict = _find_first_broken_rule(failed, contract)
    rejected = as_rejects(frame[failed[_ROW]], verdict, keys)
    return numbered.join(failed.select(_ROW), on=_ROW, how="anti", maintain_order="left").drop(_ROW), rejected


def _find_failed_rows(failure: dy.FailureInfo, contract: type[dy.Schema]) -> pl.DataFrame:
    """Return the rows that failed, with the verdict of each rule.

    Rows that only failed because their key is in the chunk twice are left out: a message may be delivered twice, and
    the load refuses a repeated key where it is wrong.
    """
    details = failure.details().drop(KEY_RULE, strict=False)
    return details.filter(pl.any_horizontal(pl.col(_rules(details, contract)) == "invalid"))


def _rules(failed: pl.DataFrame, contract: type[dy.Schema]) -> list[str]:
    return [name for name in failed.columns if name != _ROW and name not in contract.column_names()]


def _add_missing_fields(frame: pl.DataFrame, contract: type[dy.Schema], stream: Stream) -> pl.DataFrame:
    """Add a field that no document of the frame has: it is NULL in all of them."""
    if not stream.is_of_documents:
        return frame
    missing = {name: column for name, column in contract.columns().items() if name not in frame.columns}
    return frame.with_columns(pl.lit(None, dtype=column.dtype).alias(name) for name, column in missing.items())


def _check_shape(frame: pl.DataFrame, contract: type[dy.Schema], stream: Stream) -> None:
    for name, declared in contract.columns().items():
        place = f"{stream.place}, column {name}"
        if name not in frame.columns:
            raise SchemaConflict(
                "the contract names it, and the source has no such column",
                place=place,
                remedy="fix the contract or the source",
            )
        if not declared.validate_dtype(frame.schema[name]):
            raise SchemaConflict(
                f"the contract wants {declared.dtype}, the source gives {frame.schema[name]}",
                place=place,
                remedy="change the contract, or declare the column's type in the stream's types",
            )


def _find_first_broken_rule(failed: pl.DataFrame, contract: type[dy.Schema]) -> pl.Series:
    """Return the verdict of each failed row: ``contract_<rule>``, and the column of the rule.

    The column is '' for a rule over several columns.
    """
    rules = sorted(_rules(failed, contract), key=_order_of)
    broken = [pl.when(pl.col(rule) == "invalid").then(pl.lit(_verdict(rule))) for rule in rules]
    return failed.select(pl.coalesce(*broken).alias("verdict"))["verdict"]


def _order_of(rule: str) -> tuple[bool, str]:
    """Return where a rule sorts: rules of single columns first.

    A missing value explains more than the rule over several columns that it breaks too.
    """
    return (_RULES_SUFFIX not in rule, rule)


def _verdict(rule: str) -> str:
    column, _, check = rule.rpartition(_RULES_SUFFIX)
    return f"contract_{check}{REASON_SEPARATOR}{column}"
