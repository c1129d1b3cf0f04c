"""Rows that a batch holds more than once: a document that moved while it was read, a message that was sent again.

Models are given the reading of such a row that the table of the stream keeps too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from millrace.base.disk import TemporaryFolder
from millrace.base.naming import ROW_HASH

ROWS_AT_ONCE = 1_000_000
"""How many row ids are held in memory."""
NUMBER = "number$"
NO_NUMBERS = pl.DataFrame(schema={NUMBER: pl.Int64})
"""A frame that says that no row is outdated."""
_SHARE = "share$"


def find_outdated(frames: Iterable[pl.DataFrame], rows: int, row_id: str, latest: str) -> pl.DataFrame:
    """Return the numbers of the rows that were read again later, in order, as the column NUMBER.

    Rows with the same value in the column ``row_id`` are one row of the source; the one with the greatest value in the
    column ``latest`` ('': there is no such column) is the latest. ``frames`` hold these columns and the row hash, and
    have ``rows`` rows in all, which are numbered from 0.
    """
    shares = rows // ROWS_AT_ONCE + 1
    order = [latest] if latest else []
    with TemporaryFolder() as folder:
        for index, frame in enumerate(number_rows(frames)):
            chosen = frame.select(NUMBER, row_id, ROW_HASH, *order, (pl.col(row_id).hash() % shares).alias(_SHARE))
            for (share,), part in chosen.partition_by(_SHARE, as_dict=True).items():
                part.write_parquet(folder / f"{share}-{index}.parquet")
        found = [
            _find_outdated(pl.concat(map(pl.read_parquet, files)), row_id, order)
            for share in range(shares)
            if (files := sorted(folder.glob(f"{share}-*.parquet")))
        ]
    return pl.concat([NO_NUMBERS, *found]).sort(NUMBER)


def number_rows(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the frames with the column NUMBER, which counts from 0 through all frames."""
    first = 0
    for frame in frames:
        yield frame.with_columns((pl.int_range(pl.len(), dtype=pl.Int64) + first).alias(NUMBER))
        first += frame.height


def _find_outdated(rows: pl.DataFrame, row_id: str, order: list[str]) -> pl.DataFrame:
    descending = [True] * len(order) + [False]
    ordered = rows.filter(pl.col(row_id).is_duplicated()).sort(
        [*order, ROW_HASH], descending=descending, nulls_last=True, maintain_order=True
    )
    return ordered.filter(~pl.col(row_id).is_first_distinct()).select(NUMBER)
