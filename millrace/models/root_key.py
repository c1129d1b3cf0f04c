"""The key of a model's root: by it rows of a model and the source rows that they were made of find each other.

What a model's columns hold is a claim of the declaration; here it is checked with the rows of each chunk
(docs/decisions/0019-models-that-cannot-be-declared-wrongly.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from millrace.base.errors import FatalError

SAMPLE_ROWS = 1_000
"""How many rows of a chunk are given to a model once more, in parts."""

_NUMBER = "number$"
Compute = Callable[[pl.DataFrame], pl.DataFrame]
"""Returns what a model gives for rows of its root, without rejected rows."""


@dataclass(frozen=True)
class RootKey:
    """The columns of a model that hold the key of its root."""

    columns: Mapping[str, str]
    """Columns of the model, with the columns of the root's key that they hold."""
    root: str
    """Name of the stream that is the root."""
    place: str
    """How errors name the model."""

    def keys_of_source(self, rows: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """Return the keys of rows of the root, as columns of the model, which has the types of ``schema``."""
        return rows.select(
            pl.col(key).cast(schema[column], strict=False).alias(column) for column, key in self.columns.items()
        )

    def keys_of_model(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the keys of the root that rows of the model hold."""
        return rows.select(list(self.columns))

    def keys_to_search(self, chunk: pl.DataFrame, rows: pl.DataFrame, *, is_key: bool) -> pl.DataFrame:
        """Return the keys of the chunk by which deleted rows of the model are found in its target.

        These are all keys of the chunk or, if the root's key ``is_key`` of the model, the keys that have no row now.
        """
        keys = self.keys_of_source(chunk, rows.schema)
        return keys.join(self.keys_of_model(rows), on=list(self.columns), how="anti") if is_key else keys

    def find_sources(self, chunk: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of the chunk that these rows of the model were made of."""
        numbered = self.keys_of_source(chunk, rows.schema).with_row_index(_NUMBER)
        return chunk[numbered.join(self.keys_of_model(rows), on=list(self.columns), how="semi")[_NUMBER]]

    def check(self, chunk: pl.DataFrame, rows: pl.DataFrame) -> None:
        """Raise FatalError when rows hold a key of the root that is not in the chunk they were made of."""
        keys = self.keys_of_source(chunk, rows.schema)
        foreign = self.keys_of_model(rows).join(keys, on=list(self.columns), how="anti").height
        if foreign:
            columns = ", ".join(self.columns)
            raise FatalError(
                f"{foreign} of its rows do not hold in {columns} the key of the row of {self.root} they were made of",
                place=self.place,
                remedy=f"name the columns that hold the key of {self.root} in root_key={{'column': 'key column'}}, or "
                "give that key columns of its name; nothing was loaded",
            )


def check_additive(chunk: pl.DataFrame, compute: Compute, key: RootKey | None, place: str) -> None:
    """Raise FatalError when a model gives other rows for parts of the ``chunk`` than for all of it.

    It is also raised for a row that holds another key of the root than the only row it was made of.
    """
    if chunk.height <= 1:
        return
    sample = chunk.head(SAMPLE_ROWS)
    half = (sample.height + 1) // 2
    parts = [sample.head(1), sample.slice(1, half - 1), sample.slice(half)]
    given = [compute(part) for part in parts if part.height]
    if key is not None:
        key.check(parts[0], given[0])
    if not _are_same(pl.concat(given), compute(sample)):
        raise FatalError(
            "it gives other rows for parts of its input than for all of it at once (a sum, a count, a rank, or a value "
            "that is not computed from the row alone)",
            place=place,
            remedy="make that a view over the table, or capture the stream as Snapshot, which is given whole; nothing "
            "was loaded",
        )


def _are_same(first: pl.DataFrame, second: pl.DataFrame) -> bool:
    """Return whether both frames have the same rows in any order; a row that comes twice counts once."""
    first, second = (frame.unique().sort(pl.all(), nulls_last=True) for frame in (first, second))
    return first.equals(second, null_equal=True)
