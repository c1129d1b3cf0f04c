"""Rows of a source that a batch holds more than once: a document that moved while it was read, a message that was sent
again. Of the readings of one row the one counts that counts in the stream's own table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from millrace.base.disk import TemporaryFolder
from millrace.base.naming import ROW_HASH

ROWS_AT_ONCE = 1_000_000
"""Whose identities are held in memory."""
NUMBER = "number$"
NONE = pl.DataFrame(schema={NUMBER: pl.Int64})
"""No row is outdated."""
_SHARE = "share$"


def outdated(frames: Iterable[pl.DataFrame], rows: int, identity: str, latest: str) -> pl.DataFrame:
    """The numbers of the rows that were read again later, in order, as the column NUMBER. Rows are of one row of the
    source where they have the same ``identity``; later is a greater ``latest`` (a column; '': there is none).

    ``frames`` hold these columns and the row hash, and ``rows`` in all, which are numbered from 0.
    """
    shares = rows // ROWS_AT_ONCE + 1
    order = [latest] if latest else []
    with TemporaryFolder() as folder:
        for index, frame in enumerate(numbered(frames)):
            told = frame.select(NUMBER, identity, ROW_HASH, *order, (pl.col(identity).hash() % shares).alias(_SHARE))
            for (share,), part in told.partition_by(_SHARE, as_dict=True).items():
                part.write_parquet(folder / f"{share}-{index}.parquet")
        found = [
            _outdated(pl.concat(map(pl.read_parquet, files)), identity, order)
            for share in range(shares)
            if (files := sorted(folder.glob(f"{share}-*.parquet")))
        ]
    return pl.concat([NONE, *found]).sort(NUMBER)


def numbered(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The frames with the column NUMBER, from 0 on."""
    first = 0
    for frame in frames:
        yield frame.with_columns((pl.int_range(pl.len(), dtype=pl.Int64) + first).alias(NUMBER))
        first += frame.height


def _outdated(rows: pl.DataFrame, identity: str, order: list[str]) -> pl.DataFrame:
    descending = [True] * len(order) + [False]
    ordered = rows.filter(pl.col(identity).is_duplicated()).sort(
        [*order, ROW_HASH], descending=descending, nulls_last=True, maintain_order=True
    )
    return ordered.filter(~pl.col(identity).is_first_distinct()).select(NUMBER)
