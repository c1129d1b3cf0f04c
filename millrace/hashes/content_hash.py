"""The content hash: a row hash over values as any system gives them back.

A source and a warehouse write one document, or one time of day, as different texts: with other blanks, another order of
keys, other zeros at the end of a number. So the row hash, which is made of the source's text, cannot be computed again
from a warehouse. The content hash can: before it is made, such texts are brought into one form
(docs/decisions/0018-stored-hash-is-a-claim.md). It is compared within one sweep, and never stored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl

from millrace.base.types import Column, Kind
from millrace.hashes.row_hash import with_row_hash

CONTENT_HASH = "content_hash$"
INT64_END = 2**63
TOO_DEEP = "too deep"


def with_content_hash(frame: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """The frame with a last column `CONTENT_HASH` of these columns."""
    forms = [form for column in columns if (form := _form(column)) is not None]
    hashed = with_row_hash(frame.with_columns(forms), columns, CONTENT_HASH)
    return frame.with_columns(hashed[CONTENT_HASH])


def _form(column: Column) -> pl.Expr | None:
    value = pl.col(column.name)
    if column.type.kind is Kind.DOCUMENT:
        return value.map_elements(same_document, return_dtype=pl.String)
    if column.type.kind is Kind.TIME:
        return value.str.replace(r"(\.[0-9]*?)0+$", "$1").str.strip_suffix(".")
    return None


def same_document(text: str) -> str:
    """One text for all texts of a document: keys in order, no blanks, and of a number its value, as far as 64 bits hold
    it. What is nested too deeply for this program is taken as equal."""
    try:
        value = json.loads(text, parse_float=_number, parse_int=_number)
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return TOO_DEEP


def _number(text: str) -> int | float:
    """Whole numbers as such, so that ``1.0`` and ``1`` are one. Digits beyond a float's are left out: it is not known
    that a SUPER keeps them."""
    try:
        whole = int(text)
    except ValueError:
        value = float(text)
        whole = int(value) if value.is_integer() else INT64_END
        return whole if abs(whole) < INT64_END else value
    return whole if abs(whole) < INT64_END else float(text)
