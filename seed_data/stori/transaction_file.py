"""Read txns.csv: each record is accepted with types, or rejected with its reasons.

All columns are read as text and parsed by vectorised expressions, so that nothing is guessed: a value that is not
exactly a date, a number or a boolean is a reason to reject the record, and never becomes NULL.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dataframely as dy
import polars as pl

from millrace.base.errors import ConfigurationError
from millrace.pipelines.stori.contracts import TransactionRecord

COLUMNS = TransactionRecord.column_names()
DETAILS, LINE, REASONS, SURPLUS = "transaction_details", "line", "reasons", "surplus"
FORMAT_REMEDY = f"give a comma-separated UTF-8 file with the columns {', '.join(COLUMNS)}"

_HEADER_MAX_BYTES = 4_096
_PIECE_RECORDS = 50_000
_AMOUNT = r"^-?(\d+|\d{1,3}(,\d{2,3})*,\d{3})(\.\d{1,2})?$"


class _Record(TransactionRecord):
    """A record with its place in the file, and what Postgres cannot hold ruled out."""

    line = dy.Int64(nullable=False)

    @dy.rule()
    def no_nul_character(cls) -> pl.Expr:
        return ~cls.transaction_details.col.str.contains("\0", literal=True)


@dataclass(frozen=True)
class Piece:
    """Some records of a file, in order.

    ``accepted`` has the types of the contract, ``rejects`` are texts with ``line`` (of the file, counted from 1) and
    ``reasons`` (``column|rule``).
    """

    accepted: pl.DataFrame
    rejects: pl.DataFrame


def read_transactions(path: Path) -> Iterator[Piece]:
    """Yield the records of a file in pieces of bounded size.

    Raises ConfigurationError if the file is not a CSV of transactions. That may only show at its end: then nothing of
    it may be kept.
    """
    return map(_judge, _raw_pieces(path))


def _judge(raw: pl.DataFrame) -> Piece:
    unreadable = raw.with_columns(_parse_failures()).filter(pl.col(REASONS).list.len() > 0)
    readable = raw.join(unreadable, on=LINE, how="anti", maintain_order="left")
    accepted, failure = _Record.filter(readable.with_columns(**_parse_columns()).drop(SURPLUS))
    broken = failure.details().select(LINE, _failed_rules(failure.counts()).alias(REASONS))
    rejected = pl.concat([unreadable.select(LINE, REASONS), broken])
    return Piece(accepted.drop(LINE), raw.join(rejected, on=LINE).sort(LINE))


def _raw_pieces(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the columns of the contract as texts, with line numbers and without blank lines."""
    records = pl.scan_csv(
        path,
        has_header=False,
        skip_lines=1,
        schema=dict.fromkeys([*_header(path), SURPLUS], pl.String),
        missing_columns="insert",
        extra_columns="ignore",
    )
    lines_before = 1
    try:
        for piece in records.collect_batches(chunk_size=_PIECE_RECORDS):
            numbered = piece.select(*COLUMNS, SURPLUS, (_lines().cum_sum() + lines_before).alias("end"))
            lines_before = numbered["end"][-1] if len(numbered) else lines_before
            first_line = (pl.col("end") - _lines() + 1).alias(LINE)
            yield numbered.with_columns(first_line).drop("end").filter(~_is_blank())
    except pl.exceptions.PolarsError:
        # Its message shows values of the file.
        raise ConfigurationError("is not a CSV file", place=_first_flaw(path), remedy=FORMAT_REMEDY) from None


def _lines() -> pl.Expr:
    """Lines that each record takes in the file."""
    newlines = (pl.col(name).str.count_matches("\n", literal=True).fill_null(0) for name in (*COLUMNS, SURPLUS))
    return (1 + pl.sum_horizontal(newlines)).cast(pl.Int64)


def _is_blank() -> pl.Expr:
    return pl.all_horizontal(pl.col(*COLUMNS, SURPLUS).is_null())


def _header(path: Path) -> list[str]:
    """Return the contract's names of the columns in the file's order, whatever their blanks, underscores and case."""
    with path.open("rb") as file:
        line = file.readline(_HEADER_MAX_BYTES)
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ConfigurationError("is not a text file", place=f"{path.name}, line 1", remedy=FORMAT_REMEDY)
    if "\r" in text.rstrip("\r\n"):
        raise ConfigurationError(
            "its lines end with CR alone", place=path.name, remedy="end them with LF, or CR and LF"
        )
    names = ["_".join(name.lower().split()) for name in next(csv.reader([text]), [])]
    if sorted(names) != sorted(COLUMNS):
        wrong = sorted(set(COLUMNS) - set(names))
        problem = f"the header lacks {', '.join(wrong)}" if wrong else "the header has columns beyond those expected"
        raise ConfigurationError(problem, place=f"{path.name}, line 1", remedy=FORMAT_REMEDY)
    return names


def _first_flaw(path: Path) -> str:
    """Name and line of what a strict reader stumbles over, for the message to a person."""
    line = 1
    try:
        with path.open("rb") as file:
            for line, text in enumerate(file, 1):  # noqa: B007 (read after an error)
                text.decode()
    except UnicodeDecodeError:
        return f"{path.name}, line {line} (bytes that are not UTF-8)"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            records, line = csv.reader(file, strict=True), 1
            for _ in records:
                line = records.line_num + 1
    except csv.Error:
        return f"{path.name}, record at line {line} (a quote that is not closed)"
    return path.name


def _strip(name: str) -> pl.Expr:
    text = pl.col(name).str.strip_chars()
    return pl.when(text != "").then(text)


def _date(name: str) -> pl.Expr:
    return _strip(name).str.replace_all(" ", "-", literal=True).str.to_date("%d-%b-%y", strict=False)


def _amount(name: str, precision: int) -> pl.Expr:
    text = _strip(name)
    number = pl.when(text.str.contains(_AMOUNT)).then(text.str.replace_all(",", "", literal=True))
    return number.cast(pl.Decimal(precision, 2), strict=False)


def _parse_columns() -> dict[str, pl.Expr]:
    """Typed value per column, NULL where the text is blank or cannot be read. Details stay as they are."""
    truth = _strip("chip_used").str.to_lowercase()
    return {
        "account_no": _strip("account_no").str.strip_suffix("'").cast(pl.Int64, strict=False),
        "date": _date("date"),
        "chip_used": truth.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean),
        "value_date": _date("value_date"),
        "withdrawal_amt": _amount("withdrawal_amt", 12),
        "deposit_amt": _amount("deposit_amt", 12),
        "balance_amt": _amount("balance_amt", 14),
    }


def _parse_failures() -> pl.Expr:
    failures = [
        pl.when(_strip(name).is_not_null() & value.is_null()).then(pl.lit(f"{name}|parse"))
        for name, value in _parse_columns().items()
    ]
    surplus = pl.when(pl.col(SURPLUS).is_not_null()).then(pl.lit("record|too_many_fields"))
    return pl.concat_list(surplus, *failures).list.drop_nulls().alias(REASONS)


def _failed_rules(counts: dict[str, int]) -> pl.Expr:
    failed = [pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in counts]
    return pl.concat_list(failed).list.drop_nulls() if failed else pl.lit(None, dtype=pl.List(pl.String))
