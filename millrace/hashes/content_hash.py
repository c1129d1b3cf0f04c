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
from millrace.hashes.row_hash import add_row_hash

CONTENT_HASH = "content_hash$"
INT64_END = 2**63
TOO_DEEP = "too deep"


def add_content_hash(frame: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """Return the frame with a last column CONTENT_HASH, the hash of these columns."""
    forms = [form for column in columns if (form := _form(column)) is not None]
    hashed = add_row_hash(frame.with_columns(forms), columns, CONTENT_HASH)
    return frame.with_columns(hashed[CONTENT_HASH])


def _form(column: Column) -> pl.Expr | None:
    value = pl.col(column.name)
    if column.type.kind is Kind.DOCUMENT:
        return value.map_elements(normalize_document, return_dtype=pl.String)
    if column.type.kind is Kind.TIME:
        return value.str.replace(r"(\.[0-9]*?)0+$", "$1").str.strip_suffix(".")
    return None


def normalize_document(text: str) -> str:
    """Return one text for all texts of a document: keys in order, no blanks, every number by its value.

    Numbers are compared as far as 64 bits hold them. Documents that are nested too deeply for this program are taken as
    equal.
    """
    try:
        value = json.loads(text, parse_float=_parse_number, parse_int=_parse_number)
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return TOO_DEEP


def _parse_number(text: str) -> int | float:
    """Return a number of JSON; ``1.0`` and ``1`` are the same.

    Digits beyond those of a float are left out, because a SUPER may not keep them.
    """
    try:
        whole = int(text)
    except ValueError:
        value = float(text)
        whole = int(value) if value.is_integer() else INT64_END
        return whole if abs(whole) < INT64_END else value
    return whole if abs(whole) < INT64_END else float(text)
