"""Writes txns.csv and trades.json with every quirk of the files that exist in the wild, at any size.

Deterministic by seed, in pieces of bounded size, so memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
import polars as pl

from millrace.seed_data.stori.population import (
    FIRST_DAY,
    LAST_DAY,
    Accounts,
    DetailTexts,
    draw_trades,
    draw_transactions,
)

Header = Literal["spaced", "underscored"]

HEADERS: dict[Header, str] = {
    "spaced": "Account No,DATE,TRANSACTION DETAILS,CHIP USED,VALUE DATE, WITHDRAWAL AMT , DEPOSIT AMT ,BALANCE AMT",
    "underscored": (
        "ACCOUNT_NO,DATE,TRANSACTION_DETAILS,CHIP_USED,VALUE_DATE, WITHDRAWAL_AMT , DEPOSIT_AMT ,BALANCE_AMT"
    ),
}
ROWS_PER_PIECE = 50_000
STRAY_QUOTE_SHARE, BLANK_DATE_SHARE, INDIAN_SHARE, PADDED_SHARE = 0.3, 0.2, 0.2, 0.8


def generate_transactions(
    path: Path, rows: int = 116_201, accounts: int = 10, seed: int = 1, header: Header = "spaced"
) -> None:
    """Write ``rows`` bank transactions over ``accounts`` accounts as a CSV file."""
    opened, details = Accounts.open(accounts), DetailTexts(seed)
    with path.open("wb") as file:
        file.write(f"{HEADERS[header]}\n".encode())
        for piece, (first, last) in enumerate(_pieces(rows)):
            random = np.random.default_rng([seed, 0, piece])
            days = FIRST_DAY + np.arange(first, last) * int((LAST_DAY - FIRST_DAY).astype(int)) // max(rows, 1)
            frame = draw_transactions(random, opened, details, days)
            spell(frame, random).write_csv(file, include_header=False)


def generate_trades(path: Path, documents: int = 20_000, seed: int = 1) -> None:
    """Write ``documents`` trades as one JSON document ``{"data": […]}``."""
    with path.open("wb") as file:
        file.write(b'{"data":[')
        for piece, (first, last) in enumerate(_pieces(documents)):
            for row, trade in enumerate(draw_trades(np.random.default_rng([seed, 1, piece]), last - first), first):
                if row == 0:
                    trade.pop("ticket", None)
                file.write((b",\n" if row else b"\n") + orjson.dumps(trade))
        file.write(b"\n]}\n")


def _pieces(total: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + ROWS_PER_PIECE, total)) for first in range(0, total, ROWS_PER_PIECE))


def spell(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
    """Spell typed values as texts of the file."""
    stray, blank, indian, padded = (
        pl.lit(pl.Series(random.random(len(frame)) < share))
        for share in (STRAY_QUOTE_SHARE, BLANK_DATE_SHARE, INDIAN_SHARE, PADDED_SHARE)
    )
    account = pl.col("account_no").cast(pl.String)
    return frame.with_columns(
        pl.when(stray).then(account + "'").otherwise(account).alias("account_no"),
        *(_date_text(pl.col(name), blank).alias(name) for name in ("date", "value_date")),
        pl.col("chip_used").cast(pl.String),
        *(
            _amount_text(pl.col(name), indian, padded).alias(name)
            for name in ("withdrawal_amt", "deposit_amt", "balance_amt")
        ),
    )


def _date_text(date: pl.Expr, blank: pl.Expr) -> pl.Expr:
    return pl.when(blank).then(date.dt.strftime("%d %b %y")).otherwise(date.dt.strftime("%d-%b-%y"))


def _amount_text(amount: pl.Expr, indian: pl.Expr, padded: pl.Expr) -> pl.Expr:
    """`` -1,000,000.00 `` or `` -10,00,000.00 ``: grouped from the right, so grouped in reverse."""
    text = amount.cast(pl.String)
    sign = pl.when(text.str.starts_with("-")).then(pl.lit("-")).otherwise(pl.lit(""))
    reverse = text.str.strip_prefix("-").str.reverse()
    cents, whole = reverse.str.slice(0, 3), reverse.str.slice(3)
    western = whole.str.replace_all(r"(\d{3})", "${1},")
    eastern = whole.str.slice(0, 3) + "," + whole.str.slice(3).str.replace_all(r"(\d{2})", "${1},")
    grouped = pl.when(indian).then(eastern).otherwise(western).str.strip_chars_end(",")
    spelled = sign + (cents + grouped).str.reverse()
    return pl.when(padded).then(" " + spelled + " ").otherwise(spelled)
