"""A stream's contract (a dataframely schema) and the warehouse's limits, applied to a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import dataframely as dy
import polars as pl

from millrace.base.errors import SchemaConflict
from millrace.base.rejects import REASON_SEPARATOR, as_rejects, no_rejects, reject_when, reject_with, split_rejects
from millrace.base.types import MAX_PRECISION, Column, DataType, Kind, polars_type
from millrace.contract.document_limits import TOO_LONG, DocumentLimits
from millrace.declaration.contract_rules import KEY_RULE
from millrace.lake.lengths import byte_length, measure_longest_bytes

if TYPE_CHECKING:
    from millrace.declaration.stream import Stream

_ROW = "row of the chunk"
_RULES_SUFFIX = "|"


@dataclass(frozen=True)
class Limits:
    """What the longest value of a kind may measure in a warehouse, in bytes. ``document_text_bytes``: a single text
    within a document. ``document_levels``: how deep arrays and objects lie in each other there; ``document_digits``,
    ``document_exponent``: the digits of a number there, and its power of ten either way. ``overflowing_digits``: a
    decimal of so many digits overflows below its greatest number and is kept with one digit more (0: none does)."""

    text_bytes: int
    binary_bytes: int
    document_bytes: int
    document_text_bytes: int
    document_levels: int = 1_000
    document_digits: int = MAX_PRECISION
    document_exponent: int = 308
    overflowing_digits: int = 0

    @property
    def documents(self) -> DocumentLimits:
        """Those of what is within a document."""
        return DocumentLimits(
            self.document_text_bytes, self.document_levels, self.document_digits, self.document_exponent
        )

    def roomy(self, data_type: DataType) -> DataType:
        """The type that holds every number of this one."""
        if data_type.kind is not Kind.DECIMAL or data_type.precision != (self.overflowing_digits or None):
            return data_type
        return replace(data_type, precision=self.overflowing_digits + 1)


_MEASURED = {Kind.TEXT: "text_bytes", Kind.BINARY: "binary_bytes", Kind.DOCUMENT: "document_bytes"}


def with_room(
    frame: pl.DataFrame, columns: tuple[Column, ...], limits: Limits
) -> tuple[pl.DataFrame, tuple[Column, ...]]:
    """The same values in types that hold every number of theirs."""
    roomy = tuple(replace(column, type=limits.roomy(column.type)) for column in columns)
    changed = [new for new, old in zip(roomy, columns, strict=True) if new != old]
    if not changed:
        return frame, columns
    return frame.with_columns(pl.col(column.name).cast(polars_type(column.type)) for column in changed), roomy


def within_limits(
    frame: pl.DataFrame, columns: Sequence[Column], keys: Sequence[str], limits: Limits
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows whose values the warehouse can hold, and the others as rejects."""
    longest = measure_longest_bytes(frame, columns)
    limit = {
        column.name: int(getattr(limits, _MEASURED[column.type.kind])) for column in columns if column.name in longest
    }
    verdicts = [
        reject_when(TOO_LONG, column.path, byte_length(column) > limit[column.name])
        for column in columns
        if longest.get(column.name, 0) > limit.get(column.name, 0)
    ]
    verdicts += [
        reject_with(pl.col(column.name).map_batches(limits.documents.unfit, return_dtype=pl.String), column.path)
        for column in columns
        if column.type.kind is Kind.DOCUMENT
    ]
    return split_rejects(frame, verdicts, keys)


def meets_contract(
    frame: pl.DataFrame, contract: type[dy.Schema], stream: Stream, keys: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that meet the contract, and the others as rejects (``contract_<rule>``).

    Columns the contract does not name pass unchecked. Raises SchemaConflict when a column of the contract is not
    in the frame or is of another type: then no row could meet it.
    """
    checked = _complete(frame, contract, stream)
    _check_shape(checked, contract, stream)
    return by_rules(frame, checked, contract, keys)


def by_rules(
    frame: pl.DataFrame, checked: pl.DataFrame, contract: type[dy.Schema], keys: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of ``frame`` that meet the rules of a schema, and the others as rejects. ``checked`` are the same rows
    with every column of the schema, in its types."""
    indexed: type[dy.Schema] = type(contract.__name__, (contract,), {"row": dy.UInt32(alias=_ROW)})
    numbered = frame.with_row_index(_ROW)
    _, failure = indexed.filter(checked.with_row_index(_ROW).select(_ROW, *contract.column_names()))
    failed = _by_row(failure, contract) if len(failure) else pl.DataFrame()
    if not failed.height:
        return frame, no_rejects()
    verdict = _first_broken_rule(failed, contract)
    rejected = as_rejects(frame[failed[_ROW]], verdict, keys)
    return numbered.join(failed.select(_ROW), on=_ROW, how="anti", maintain_order="left").drop(_ROW), rejected


def _by_row(failure: dy.FailureInfo, contract: type[dy.Schema]) -> pl.DataFrame:
    """What failed, with each rule's verdict, without rows whose one fault is that their key comes again in the chunk:
    a message may, and whether a key comes twice where it must not is told by the load."""
    details = failure.details().drop(KEY_RULE, strict=False)
    return details.filter(pl.any_horizontal(pl.col(_rules(details, contract)) == "invalid"))


def _rules(failed: pl.DataFrame, contract: type[dy.Schema]) -> list[str]:
    return [name for name in failed.columns if name != _ROW and name not in contract.column_names()]


def _complete(frame: pl.DataFrame, contract: type[dy.Schema], stream: Stream) -> pl.DataFrame:
    """Documents have fields and no columns: one that none of them holds is NULL in all of them."""
    if not stream.is_of_documents:
        return frame
    missing = {name: column for name, column in contract.columns().items() if name not in frame.columns}
    return frame.with_columns(pl.lit(None, dtype=column.dtype).alias(name) for name, column in missing.items())


def _check_shape(frame: pl.DataFrame, contract: type[dy.Schema], stream: Stream) -> None:
    for name, declared in contract.columns().items():
        place = f"stream {stream.name} ({stream.source}), column {name}"
        if name not in frame.columns:
            raise SchemaConflict(
                "the contract names it and the source has it not", place=place, remedy="fix the contract or the source"
            )
        if not declared.validate_dtype(frame.schema[name]):
            raise SchemaConflict(
                f"the contract wants {declared.dtype}, the source gives {frame.schema[name]}",
                place=place,
                remedy="change the contract, or declare the column's type in the stream's types",
            )


def _first_broken_rule(failed: pl.DataFrame, contract: type[dy.Schema]) -> pl.Series:
    """Per failed row ``contract_<rule>`` and the column it is about ('' for a rule over several columns)."""
    rules = sorted(_rules(failed, contract), key=_order)
    broken = [pl.when(pl.col(rule) == "invalid").then(pl.lit(_verdict(rule))) for rule in rules]
    return failed.select(pl.coalesce(*broken).alias("verdict"))["verdict"]


def _order(rule: str) -> tuple[bool, str]:
    """Rules of single columns first: a missing value explains more than the rule it breaks in turn."""
    return (_RULES_SUFFIX not in rule, rule)


def _verdict(rule: str) -> str:
    column, _, check = rule.rpartition(_RULES_SUFFIX)
    return f"contract_{check}{REASON_SEPARATOR}{column}"
