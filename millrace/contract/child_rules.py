"""Reject rows with arrays that the tables of their children cannot hold: a row and its children are loaded together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dataframely as dy
import orjson
import polars as pl

from millrace.base.naming import column_name, elements_column
from millrace.base.rejects import REASON_SEPARATOR, as_rejects, no_rejects
from millrace.base.types import Column
from millrace.contract.limits import Limits
from millrace.contract.masking import hide_fields
from millrace.contract.rules import reject_by_rules
from millrace.contract.target_fit import fit_to_target
from millrace.declaration.captures import rejects_changes
from millrace.declaration.children import child_dtypes, redacted_columns
from millrace.declaration.elements import read_elements
from millrace.declaration.stream import Stream
from millrace.declaration.width import refuse_fields_as_data
from millrace.sources.found_elements import FoundElements
from millrace.sources.json_numbers import loads
from millrace.sources.mongo_values import decode_array

_ROW = "row of the array"
Wrong = dict[int, tuple[str, str]]
"""The rows that are wrong: index, reason and field."""


class ChildRules:
    """Finds the rows of one read whose arrays the tables of the stream's children cannot hold.

    ``child_columns`` are the columns that elements fill in the tables of children without a schema, by the path of the
    array; ``limits`` are those of the warehouse.
    """

    def __init__(self, stream: Stream, limits: Limits, child_columns: Mapping[str, Sequence[Column]]) -> None:
        self._stream, self._limits, self._target_columns = stream, limits, child_columns
        self._found = {path: FoundElements(stream, path, child_columns.get(path, ())) for path in stream.found_children}

    @property
    def columns(self) -> dict[str, tuple[Column, ...]]:
        """The columns of the children without a schema, by the path of the array: of their tables and of this read."""
        return {
            path: tuple(replace(column, type=self._limits.widen(column.type)) for column in found.columns)
            for path, found in self._found.items()
        }

    @property
    def renamed(self) -> list[str]:
        """The fields that have another column than one of their name, because Millrace adds that one."""
        return [
            f"{path}.{field} is in column {name}"
            for path, found in self._found.items()
            for field, name in found.renamed.items()
        ]

    def reject(self, frame: pl.DataFrame, location_columns: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the rows with arrays that the children can hold, and the others as rejects.

        An array is wrong if it is no array, if a value does not fit its column or, with a schema, if an element is no
        document or breaks a rule. The reason names the field. Raises SchemaConflict when elements have too many fields.
        """
        wrong: Wrong = {}
        for path, child in self._stream.child_tables.items():
            if column_name(path) in frame.columns:
                found = (
                    self._find_unfit(frame, path)
                    if child.schema is None
                    else self._find_wrong(frame[column_name(path)], path, child.schema)
                )
                wrong = found | wrong
        if not wrong:
            return frame, no_rejects()
        is_wrong = pl.Series([index in wrong for index in range(frame.height)], dtype=pl.Boolean)
        verdict = pl.Series([REASON_SEPARATOR.join(wrong[index]) for index in sorted(wrong)], dtype=pl.String)
        return frame.filter(~is_wrong), as_rejects(frame.filter(is_wrong), verdict, location_columns)

    def _find_wrong(self, arrays: pl.Series, path: str, schema: type[dy.Schema]) -> Wrong:
        """Return the rows with elements that a declared schema does not allow."""
        dtypes = child_dtypes(schema)
        elements = read_elements(arrays.to_list(), path, dtypes, redacted_columns(self._stream, path))
        frame = elements.frame(dtypes).with_columns(pl.Series(_ROW, elements.rows, dtype=pl.Int64))
        _, broken = reject_by_rules(frame, frame, schema, [_ROW])
        return _rows_of(broken, path) | elements.rejected

    def _find_unfit(self, frame: pl.DataFrame, path: str) -> Wrong:
        """Return the rows with elements that the columns do not hold which the elements told."""
        wrong: Wrong = {}
        for elements, rows, rejected in self._found[path].take(self._arrays(frame, path)):
            numbered = elements.with_columns(pl.Series(_ROW, rows, dtype=pl.Int64))
            wrong = self._find_changes(numbered, path) | rejected | wrong
        self._refuse_fields_as_data(path)
        return wrong

    def _arrays(self, frame: pl.DataFrame, path: str) -> Iterator[Any]:
        """Yield the arrays of the rows as the source has them, with hidden fields hidden."""
        as_bson = elements_column(path)
        values = (
            map(decode_array, frame[as_bson])
            if as_bson in frame.columns
            else (None if text is None else loads(text) for text in frame[column_name(path)])
        )
        is_hidden = any(masked.startswith(f"{path}.") for masked in self._stream.mask)
        return (hide_fields(value, f"{path}.", self._stream) for value in values) if is_hidden else values

    def _find_changes(self, elements: pl.DataFrame, path: str) -> Wrong:
        """Return the rows for which the child's table would have to change, if its schema policy rejects that."""
        target_columns = self._target_columns.get(path, ())
        if not rejects_changes(self._stream.schema_policy) or not target_columns:
            return {}
        columns = [column for column in self._found[path].columns if column.name in elements.columns]
        _, _, rejected = fit_to_target(elements, columns, target_columns, [], [_ROW])
        return _rows_of(rejected, path)

    def _refuse_fields_as_data(self, path: str) -> None:
        known = {column.path for column in self._target_columns.get(path, ())}
        new = [f"{path}.{column.path}" for column in self._found[path].columns if column.path not in known]
        refuse_fields_as_data(self._stream, new, _REMEDY)


_REMEDY = (
    "keep {document!r} whole: take it out of children or, if it lies within their elements, declare it as DOCUMENT in "
    "types"
)


def _rows_of(rejected: pl.DataFrame, path: str) -> Wrong:
    return {
        orjson.loads(location)[_ROW]: (reason, f"{path}.{field}" if field else path)
        for reason, field, location in rejected.select("reason", "field", "coordinates").rows()
    }
