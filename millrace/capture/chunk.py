"""What every capture gives: what is known before the first row, then chunks of typed rows.

What does not belong here: anything about a particular source.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from millrace.rejects import no_rejects
from millrace.types import Column


@dataclass(frozen=True)
class Read:
    """What is fixed before the first row is read.

    ``read_at`` is the moment of the read by the source's clock; ``lower`` the lower bound that applies (None: from
    the beginning); ``position`` what the next read starts from once this one is applied (None: it must not move);
    ``identity`` names the column by which two rows of one key are told to be the same row read twice, where the
    source gives no snapshot ('' where it does: then a repeated key is an error). ``note`` says what an operator
    should know about the bound.
    """

    read_at: datetime
    lower: str | None
    position: str | None
    identity: str = ""
    note: str = ""


@dataclass(frozen=True)
class Chunk:
    """A bounded number of rows: accepted so far in ``frame`` (columns named and typed by ``columns``), and those
    that could not even be decoded in ``rejected`` (REJECT_SCHEMA)."""

    frame: pl.DataFrame
    columns: tuple[Column, ...]
    rejected: pl.DataFrame = field(default_factory=no_rejects)
