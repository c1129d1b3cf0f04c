"""Draws bank transactions and trades as clean typed values, in pieces of bounded size.

Everything comes from the random generator given, so equal seeds give equal data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from faker import Faker

Document = dict[str, Any]

FIRST_DAY, LAST_DAY = np.datetime64("2015-01-01"), np.datetime64("2019-03-05")
TICKETS = 400
EMPTY_DETAILS_SHARE, BLANK_DETAILS_SHARE, NEWLINE_DETAILS_SHARE = 0.02, 0.001, 0.003
CENT = pl.lit("0.01").cast(pl.Decimal(4, 2))

_DETAILS = (
    "NEFT/{name}/{city}",
    "RTGS  {company} :{name}",
    "IMPS-{name}@{bank}",
    'TRF TO  "{company}", {city}',
    "CASHDEP/{city}  {name}",
    "CHQ PAID {company} 100%",
    "FDRL/INTERNAL FUND TRANSFER  :{bank}",
    "UPI/₹/{name}, {city}",
)
_NEWLINE_DETAILS = ("BULK PAYMENT\n{company}", "{name},\n{city}  {bank}")
_VARIANTS_PER_TEMPLATE = 40


@dataclass
class Accounts:
    """Account numbers and what is on them, in cents. Drawing transactions moves the balances on."""

    numbers: np.ndarray
    balances_cents: np.ndarray

    @classmethod
    def open(cls, count: int) -> Accounts:
        """Return ``count`` empty accounts."""
        return cls(409_000_362_497 + 24_907 * np.arange(count), np.zeros(count, dtype=np.int64))


class DetailTexts:
    """A stock of texts with names, places and the punctuation that real statements have."""

    def __init__(self, seed: int) -> None:
        faker = Faker(["en_IN", "de_DE"])
        faker.seed_instance(seed)
        self.plain = _fill(_DETAILS, faker)
        self.with_newline = _fill(_NEWLINE_DETAILS, faker)

    def draw(self, random: np.random.Generator, count: int) -> pl.Series:
        """``count`` texts, each with a reference number; about 2 % are missing and 0.1 % are empty."""
        stock = pl.Series(self.plain).gather(random.integers(len(self.plain), size=count))
        broken = pl.Series(self.with_newline).gather(random.integers(len(self.with_newline), size=count))
        drawn = pl.DataFrame(
            {
                "stock": stock,
                "broken": broken,
                "reference": random.integers(100_000, 1_000_000, size=count),
                "kind": random.random(count),
            }
        )
        text = pl.when(pl.col("kind") < NEWLINE_DETAILS_SHARE).then("broken").otherwise("stock")
        return drawn.select(
            pl.when(pl.col("kind") > 1 - EMPTY_DETAILS_SHARE)
            .then(None)
            .when(pl.col("kind") > 1 - EMPTY_DETAILS_SHARE - BLANK_DETAILS_SHARE)
            .then(pl.lit(""))
            .otherwise(text + "/" + pl.col("reference").cast(pl.String))
        ).to_series()


def _fill(templates: tuple[str, ...], faker: Faker) -> list[str]:
    return [
        template.format(
            name=faker.name(), city=faker.city(), company=faker.company().upper(), bank=faker.word().upper()
        )
        for template in templates
        for _ in range(_VARIANTS_PER_TEMPLATE)
    ]


def draw_transactions(
    random: np.random.Generator, accounts: Accounts, details: DetailTexts, days: np.ndarray
) -> pl.DataFrame:
    """One transaction per day given (datetime64[D], ascending), with the columns of the contract's record."""
    count = len(days)
    account = random.integers(len(accounts.numbers), size=count)
    cents = np.clip(np.exp(random.normal(10.5, 2.2, count)).astype(np.int64), 100, 99_999_999_999)
    cents = np.where(random.random(count) < 0.3, (cents // 100_000 + 1) * 100_000, cents)
    signed = np.where(random.random(count) < 0.5, cents, -cents)
    frame = pl.DataFrame(
        {
            "account_no": accounts.numbers[account],
            "date": days,
            "transaction_details": details.draw(random, count),
            "chip_used": random.random(count) < 0.5,
            "value_date": days + random.integers(0, 3, size=count),
            "signed": signed,
            "before": accounts.balances_cents[account],
        }
    )
    np.add.at(accounts.balances_cents, account, signed)
    amount, balance = pl.col("signed"), pl.col("before") + pl.col("signed").cum_sum().over("account_no")
    return frame.with_columns(
        money(pl.when(amount < 0).then(-amount), 12).alias("withdrawal_amt"),
        money(pl.when(amount > 0).then(amount), 12).alias("deposit_amt"),
        money(balance, 14).alias("balance_amt"),
    ).drop("signed", "before")


def money(cents: pl.Expr, precision: int) -> pl.Expr:
    """Whole cents as an exact decimal with two places."""
    return (cents.cast(pl.Decimal(precision + 4, 0)) * CENT).cast(pl.Decimal(precision, 2))


def draw_trades(random: np.random.Generator, count: int) -> Iterator[Document]:
    """``count`` trades as their file spells them: dates are ISO strings, ``ticket`` is often absent."""
    system = np.array(["AJ", "BX", "CORE", "EDGE"])[random.integers(4, size=count)].tolist()
    price, shares, lag, ticket = (
        random.integers(low, high, size=count).tolist()
        for low, high in ((1, 5_000), (1, 1_000), (0, 500), (0, TICKETS))
    )
    asks, bids = (random.uniform(1, 5_000, size=(count, width)).tolist() for width in (3, 4))
    tickers = random.integers(0, 26, size=(count, 4))
    has_ticket, has_ticker = (random.random(count) >= share for share in (0.3, 0.03))
    moments = np.datetime64("2020-01-01T00:00:00.000") + random.integers(0, 365 * 86_400_000, size=count)
    times = np.datetime_as_string(moments, unit="ms").tolist()
    for row, identifier in enumerate(random.bytes(12).hex() for _ in range(count)):
        yield {
            "id": identifier,
            "price": price[row],
            "shares": shares[row],
            "ticker": "".join(chr(65 + letter) for letter in tickers[row]) if has_ticker[row] else None,
            **({"ticket": f"z{ticket[row]}"} if has_ticket[row] else {}),
            "details": {"asks": asks[row], "bids": bids[row], "lag": lag[row], "system": system[row]},
            "time": {"date": f"{times[row]}Z"},
        }
