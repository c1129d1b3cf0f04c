"""Reject rows with arrays that the tables of their children cannot hold: a row and its children are loaded together."""

from __future__ import annotations

import orjson
import polars as pl

from millrace.base.naming import column_name
from millrace.base.rejects import REASON_SEPARATOR, as_rejects, no_rejects
from millrace.contract.rules import reject_by_rules
from millrace.declaration.children import Child, child_dtypes, redacted_columns
from millrace.declaration.elements import read_elements
from millrace.declaration.stream import Stream

_ROW = "row of the array"


def reject_by_children(
    frame: pl.DataFrame, stream: Stream, location_columns: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows with arrays that the stream's children can hold, and the others as rejects.

    An array is wrong if it is no array, if an element is no document, if a value does not fit its column, or if an
    element breaks a rule of the schema. The reason names the field.
    """
    wrong: dict[int, tuple[str, str]] = {}
    for path, child in stream.children.items():
        if column_name(path) in frame.columns:
            found = _find_wrong(frame[column_name(path)], path, child, redacted_columns(stream, path))
            wrong = found | wrong
    if not wrong:
        return frame, no_rejects()
    is_wrong = pl.Series([index in wrong for index in range(frame.height)], dtype=pl.Boolean)
    verdict = pl.Series([REASON_SEPARATOR.join(wrong[index]) for index in sorted(wrong)], dtype=pl.String)
    return frame.filter(~is_wrong), as_rejects(frame.filter(is_wrong), verdict, location_columns)


def _find_wrong(arrays: pl.Series, path: str, child: Child, redacted: frozenset[str]) -> dict[int, tuple[str, str]]:
    """Return the rows that are wrong: index, reason and field."""
    dtypes = child_dtypes(child)
    elements = read_elements(arrays.to_list(), path, dtypes, redacted)
    frame = elements.frame(dtypes).with_columns(pl.Series(_ROW, elements.rows, dtype=pl.Int64))
    _, broken = reject_by_rules(frame, frame, child.schema, [_ROW])
    by_rule = {
        orjson.loads(location)[_ROW]: (reason, f"{path}.{field}" if field else path)
        for reason, field, location in broken.select("reason", "field", "coordinates").rows()
    }
    return by_rule | elements.rejected
