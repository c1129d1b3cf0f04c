"""A rejected row: what is kept of it, whoever rejects it (capture, contract, warehouse limits)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from millrace.base.naming import ROW_ID
from millrace.base.single_rows import pad_single_row

REJECT_SCHEMA: Mapping[str, pl.DataType] = {
    "reason": pl.String(),
    "field": pl.String(),
    "coordinates": pl.String(),
    "row": pl.String(),
}
"""Reason code; the field it is about ('' for the whole row); the row's key as JSON; the row as JSON."""

NO_LOCATION = "{}"
"""Coordinates of a row whose key could not be read either."""
NO_KEY = "no_key"
"""The reason of a document or message that lacks a field of the key."""
NAME_TOO_LONG = "name_too_long"
"""The reason of a document or message with a field whose path is longer than the ledger holds."""
FILE_IS_GONE = "file_is_gone"
"""The reason of a row that was rejected and whose file is not in the lake any more."""
HEX = "\\x"
"""Before the hexadecimal digits of binary values, as SQL spells them."""
REASON_SEPARATOR = "\x1f"


def no_rejects() -> pl.DataFrame:
    """An empty frame of rejects."""
    return pl.DataFrame(schema=dict(REJECT_SCHEMA))


def read_rejects(lines: bytes) -> pl.DataFrame:
    """Rejects from a file of them."""
    return pl.read_ndjson(lines, schema=dict(REJECT_SCHEMA))


def reject_when(reason: str, field: str, wrong: pl.Expr) -> pl.Expr:
    """An expression that is ``reason`` and ``field`` where ``wrong`` holds, else null."""
    return pl.when(wrong).then(pl.lit(f"{reason}{REASON_SEPARATOR}{field}"))


def reject_with(reason: pl.Expr, field: str) -> pl.Expr:
    """The same where the reason differs from row to row, and is null where there is none."""
    return reason + pl.lit(f"{REASON_SEPARATOR}{field}")


def split_rejects(
    frame: pl.DataFrame,
    verdicts: Sequence[pl.Expr],
    keys: Sequence[str],
    raw: Callable[[], pl.DataFrame] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """``frame`` without the rows that a verdict (of ``because``) rejects, and those rows as rejects.

    The first verdict that applies to a row is its reason. ``keys`` are the key's columns in ``raw``, which gives the
    same rows as text where the typed frame has lost what was wrong with them (default: the frame itself).
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
    """Rows with the verdict of each (``reason`` SEPARATOR ``field``) in the form of REJECT_SCHEMA."""
    binary = [name for name, dtype in rows.schema.items() if dtype == pl.Binary]
    printable = rows.drop(ROW_ID, strict=False).with_columns(
        (HEX + pl.col(name).bin.encode("hex")).alias(name) for name in binary
    )
    reason = verdict.str.split_exact(REASON_SEPARATOR, 1).struct.unnest()
    return printable.select(
        pl.lit(reason["field_0"]).alias("reason"),
        pl.lit(reason["field_1"]).fill_null("").alias("field"),
        (pl.struct(list(keys)).struct.json_encode() if keys else pl.lit(NO_LOCATION)).alias("coordinates"),
        pl.struct(pl.all()).struct.json_encode().alias("row"),
    )
