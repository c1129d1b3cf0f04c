"""Find keys by a pass over all rows of a table. The answer of a look-up by key is checked with it."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from millrace.base.rejects import HEX
from millrace.sources.chunk import Keys

INDEX = "index of the key"
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}


def find_keys_in(frames: Iterable[pl.DataFrame], keys: Keys) -> list[set[int]]:
    """Return for each row of the frames with one of the keys the indexes of the keys that it has.

    The values of a key are as the driver of a warehouse gives them, or text.
    """
    given = pl.DataFrame(list(keys.rows), schema=list(keys.names), orient="row", infer_schema_length=None)
    given = given.with_row_index(INDEX)
    seen: list[set[int]] = []
    incomparable: set[int] = set()
    for frame in frames:
        typed = given.select(INDEX, *(_convert(given.schema[name], frame.schema[name], name) for name in keys.names))
        lost = [typed[name].is_null() & given[name].is_not_null() for name in keys.names]
        incomparable.update(typed.filter(pl.any_horizontal(lost))[INDEX])
        by_value = typed.group_by(keys.names).agg(INDEX)
        seen += map(set, by_value.join(frame, on=keys.names)[INDEX])
    return [*seen, *({index} for index in incomparable)]


def _convert(given: pl.DataType, wanted: pl.DataType, name: str) -> pl.Expr:
    """Return the value in the type of the column of the table; null if it is no value of that type."""
    value = pl.col(name)
    if given != pl.String:
        return value.cast(wanted, strict=False)
    if isinstance(wanted, pl.Datetime):
        moment = value.str.replace("T", " ").str.replace(r"(Z|\+00:00)$", "")
        return moment.str.to_datetime(time_unit="us", strict=False).dt.replace_time_zone(wanted.time_zone)
    if wanted == pl.Boolean:
        return value.str.to_lowercase().replace_strict(_TRUTHS, default=None)
    if wanted == pl.Binary:
        return value.str.strip_prefix(HEX).str.decode("hex", strict=False)
    return value.str.to_date(strict=False) if wanted == pl.Date else value.cast(wanted, strict=False)
