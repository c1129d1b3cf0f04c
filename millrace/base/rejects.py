"""Rejects: what is kept of a rejected row, whichever step rejects it (capture, contract, warehouse limits)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

import polars as pl

from millrace.base.naming import ELEMENTS_PREFIX, ROW_ID
from millrace.base.single_rows import pad_single_row

REJECT_SCHEMA: Mapping[str, pl.DataType] = {
    "reason": pl.String(),
    "field": pl.String(),
    "coordinates": pl.String(),
    "row": pl.String(),
}
"""Columns of a frame of rejects: the reason's code; the field that is wrong ('' for the whole row); the row location as
JSON; the row as JSON."""

NO_LOCATION = "{}"
"""The row location of a row whose key has a NULL or could not be read."""
NO_KEY = "no_key"
"""The reason of a row with a NULL in the key, and of a document or message without a field of it."""
WITHOUT_KEY = frozenset({NO_KEY, "contract_nullability"})
"""The reasons of rows with a NULL in the key: no contract, or the contract itself asks for the key."""
NAME_TOO_LONG = "name_too_long"
"""The reason of a document or message with a field path that is too long for the ledger."""
FILE_IS_GONE = "file_is_gone"
"""The reason of a row that was rejected before, and that the lake no longer has."""
HEX = "\\x"
"""What stands before the hexadecimal digits of a binary value, as in SQL."""
REASON_SEPARATOR = "\x1f"
"""What stands between reason and field in a verdict, which is one text: a struct of both took 2.5 times as long (4.2
instead of 1.7 ms for six columns of 50,000 rows)."""


def no_rejects() -> pl.DataFrame:
    """Return an empty frame of rejects."""
    return pl.DataFrame(schema=dict(REJECT_SCHEMA))


def read_rejects(lines: bytes) -> pl.DataFrame:
    """Parse the content of a file of rejects."""
    return pl.read_ndjson(lines, schema=dict(REJECT_SCHEMA))


def reject_when(reason: str, field: str, wrong: pl.Expr) -> pl.Expr:
    """Return a verdict: an expression with ``reason`` and ``field`` for rows where ``wrong`` is true, else null."""
    return pl.when(wrong).then(pl.lit(f"{reason}{REASON_SEPARATOR}{field}"))


def reject_with(reason: pl.Expr, field: str) -> pl.Expr:
    """Return a verdict whose reason differs from row to row; rows with a null reason are not rejected."""
    return reason + pl.lit(f"{REASON_SEPARATOR}{field}")


def split_rejects(
    frame: pl.DataFrame,
    verdicts: Sequence[pl.Expr],
    keys: Sequence[str],
    raw: Callable[[], pl.DataFrame] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return ``frame`` without the rows that a verdict (of ``reject_when``) rejects, and those rows as rejects.

    The first verdict that applies to a row is its reason. ``raw`` returns the same rows as text, for a typed frame that
    no longer shows what was wrong (default: the frame itself); ``keys`` are the columns of the key in it.
    """
    if not verdicts:
        return frame, no_rejects()
    verdict = pad_single_row(frame).select(pl.coalesce(*verdicts).alias("verdict"))["verdict"].head(frame.height)
    wrong = verdict.is_not_null()
    if not wrong.any():
        return frame, no_rejects()
    rows = (raw() if raw else frame).filter(wrong)
    return frame.filter(~wrong), as_rejects(rows, verdict.filter(wrong), keys)


def as_rejects(rows: pl.DataFrame, verdict: pl.Series, keys: Sequence[str]) -> pl.DataFrame:
    """Return rows as rejects (REJECT_SCHEMA), each with its verdict. A row with a NULL in ``keys`` has no location."""
    arrays = [name for name in rows.columns if name.startswith(ELEMENTS_PREFIX)]
    binary = [name for name, dtype in rows.schema.items() if dtype == pl.Binary and name not in arrays]
    printable = rows.drop(ROW_ID, *arrays, strict=False).with_columns(
        (HEX + pl.col(name).bin.encode("hex")).alias(name) for name in binary
    )
    reason = verdict.str.split_exact(REASON_SEPARATOR, 1).struct.unnest()
    return printable.select(
        pl.lit(reason["field_0"]).alias("reason"),
        pl.lit(reason["field_1"]).fill_null("").alias("field"),
        _locate(keys).alias("coordinates"),
        pl.struct(pl.all()).struct.json_encode().alias("row"),
    )


def identify_rejects(rejects: pl.DataFrame, numbered: Counter[str] | None = None) -> list[str]:
    """Return what tells each rejected row apart from the others, in this batch and in those before and after it.

    It is the row location; of a row without location a digest of reason, field and row, with a number, because rows may
    be equal. ``numbered`` counts the equal rows of a batch whose rejects are given in several frames.
    """
    counter = Counter[str]() if numbered is None else numbered
    return [
        location if location != NO_LOCATION else _number(counter, f"{reason}{REASON_SEPARATOR}{field}{row}")
        for reason, field, location, row in rejects.select(*REJECT_SCHEMA).rows()
    ]


def _number(counter: Counter[str], content: str) -> str:
    digest = sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    counter[digest] += 1
    return f"{digest} {counter[digest]}"


def _locate(keys: Sequence[str]) -> pl.Expr:
    if not keys:
        return pl.lit(NO_LOCATION)
    has_null = pl.any_horizontal(pl.col(key).is_null() for key in keys)
    return pl.when(has_null).then(pl.lit(NO_LOCATION)).otherwise(pl.struct(list(keys)).struct.json_encode())
