"""Which rows of a target are those that the source gave and that were rejected: their keys are compared as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson
import polars as pl


def frame_of_keys(locations: Iterable[str], keys: Sequence[str]) -> pl.DataFrame:
    """Return the keys of rejected rows as text, in the columns ``keys``.

    ``locations`` are row locations as JSON, with the columns of the key in order. A location with another number of
    columns is left out.
    """
    found = [[_as_text(value) for value in orjson.loads(location).values()] for location in locations]
    rows = [values for values in found if len(values) == len(keys)]
    return pl.DataFrame(rows, schema=dict.fromkeys(keys, pl.String()), orient="row")


def count_same_keys(rejected: pl.DataFrame, rows: pl.DataFrame) -> int:
    """Count the rejected rows (of ``frame_of_keys``) that have the key of a row.

    A key that source and target write in different ways, as a time may be, is not the same.
    """
    if not set(rejected.columns) <= set(rows.columns):
        return 0
    as_text = rows.select(pl.col(name).cast(pl.String, strict=False) for name in rejected.columns)
    return rejected.join(as_text, on=rejected.columns, how="semi").height


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
