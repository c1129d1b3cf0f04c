"""Fit chunks to a target: rewrite values, apply schema policy, limits and contract, and set rejected rows apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import polars as pl

from millrace.base.errors import ConfigurationError, KeyViolation
from millrace.base.naming import ELEMENTS_PREFIX, MESSAGE_ADDRESS, column_name
from millrace.base.rejects import NO_KEY, reject_when, split_rejects
from millrace.base.types import Column, add_columns, polars_type
from millrace.contract.child_rules import ChildRules
from millrace.contract.limits import Limits, reject_beyond_limits, widen_decimals
from millrace.contract.masking import mask_chunk
from millrace.contract.rules import reject_by_contract
from millrace.contract.seen_fields import SeenFields
from millrace.contract.target_fit import fit_to_target
from millrace.declaration.captures import rejects_changes
from millrace.declaration.contract_rules import is_row_by_row
from millrace.declaration.stream import Stream
from millrace.declaration.width import refuse_fields_as_data, refuse_too_many_columns
from millrace.sources.chunk import Chunk


class Fitting:
    """Fits the chunks of one read to the target: ``fit``, then ``accept``.

    ``limits`` are those of the warehouse; ``location_columns`` are the columns of the row location in the source;
    ``mask_keys`` are the keys of hashes, by name; ``child_columns`` are the target columns of children that elements
    fill, by the path of the array.
    """

    def __init__(
        self,
        stream: Stream,
        limits: Limits,
        target_columns: Sequence[Column],
        location_columns: Sequence[str],
        mask_keys: Mapping[str, str] = MappingProxyType({}),
        child_columns: Mapping[str, Sequence[Column]] = MappingProxyType({}),
    ) -> None:
        self._stream, self._limits, self._location = stream, limits, location_columns
        self._target_columns, self._mask_keys = target_columns, mask_keys
        self._keys = [column_name(key) for key in stream.keys]
        self._columns = {column.name: column for column in target_columns}
        self._row_by_row: set[str] = set()
        self._rows = 0
        self.children = ChildRules(stream, limits, child_columns)
        """The checks of arrays that fill tables of children."""
        self.seen = SeenFields(stream)
        """The declared fields that had a value until now."""

    def fit(self, chunk: Chunk) -> Chunk:
        """Mask and rewrite values as the stream declares, and convert them to types that must not change.

        The schema policy ``quarantine`` says that the target's types must not. Raises KeyViolation when a table
        does not have the key, SchemaConflict when there are more columns than a table takes.
        """
        chunk = self._add_missing_keys(chunk)
        self._rows += chunk.frame.height
        self.seen.add(chunk)
        chunk = mask_chunk(chunk, self._stream, self._mask_keys)
        chunk = self._reject_without_key(replace(chunk, frame=self._rewrite(chunk.frame)))
        if rejects_changes(self._stream.schema_policy):
            frame, columns, rejected = fit_to_target(
                chunk.frame, chunk.columns, self._target_columns, self._keys, self._location_columns(chunk.frame)
            )
            chunk = Chunk(frame, columns, pl.concat([chunk.rejected, rejected]))
        chunk = Chunk(*widen_decimals(chunk.frame, chunk.columns, self._limits), chunk.rejected)
        self._columns = add_columns(self._columns, chunk.columns)
        if not self._stream.is_of_documents:
            self.require_key()
        refuse_too_many_columns(self._stream, [column.field for column in self._columns.values()])
        self._refuse_fields_as_data()
        return chunk

    def accept(self, chunk: Chunk) -> tuple[pl.DataFrame, tuple[Column, ...], pl.DataFrame]:
        """Return the rows of a fitted chunk that go to the target, their columns, and the other rows as rejects."""
        location_columns = self._location_columns(chunk.frame)
        accepted, too_long = reject_beyond_limits(chunk.frame, chunk.columns, location_columns, self._limits)
        rejected = [chunk.rejected, too_long]
        if self._stream.contract is not None:
            accepted, broken = reject_by_contract(accepted, self._stream.contract, self._stream, location_columns)
            rejected.append(broken)
        if self._stream.children:
            accepted, unfit = self.children.reject(accepted, location_columns)
            rejected.append(unfit)
        arrays = [name for name in accepted.columns if name.startswith(ELEMENTS_PREFIX)]
        return accepted.drop(MESSAGE_ADDRESS, *arrays, strict=False), chunk.columns, pl.concat(rejected)

    def require_key(self) -> None:
        """Raise KeyViolation when none of the rows until now has the key, and the target does not have it either.

        Messages without a key stop no later messages: nobody can change them.
        """
        keeps_rows = self._stream.capture.keeps_rows
        if keeps_rows and self._rows and (absent := [key for key in self._keys if key not in self._columns]):
            raise KeyViolation(
                f"none of {self._rows:,} rows has the key ({', '.join(absent)})",
                place=self._stream.place,
                remedy="declare a key that every row has",
            )

    @property
    def columns(self) -> Sequence[Column]:
        """The target's columns and the columns of all chunks until now.

        Rows that this batch reads again with these columns have the same values and hashes.
        """
        return tuple(self._columns.values())

    def _add_missing_keys(self, chunk: Chunk) -> Chunk:
        """Add the columns of the key that no row of the chunk has, as the target or earlier chunks have them."""
        missing = [self._columns[key] for key in self._keys if key in self._columns and key not in chunk.frame.columns]
        if not chunk.frame.height or not missing:
            return chunk
        nulls = [pl.lit(None, dtype=polars_type(column.type)).alias(column.name) for column in missing]
        return replace(chunk, frame=chunk.frame.with_columns(nulls), columns=(*chunk.columns, *missing))

    def _refuse_fields_as_data(self) -> None:
        if self._stream.is_of_documents:
            held = {column.name for column in self._target_columns}
            refuse_fields_as_data(self._stream, [c.path for name, c in self._columns.items() if name not in held])

    def _reject_without_key(self, chunk: Chunk) -> Chunk:
        """Reject rows with a NULL in the key, and all rows of a chunk without a column of the key."""
        absent = [key for key in self._keys if key not in chunk.frame.columns]
        frame = chunk.frame.with_columns(pl.lit(None, pl.String).alias(key) for key in absent)
        if not any(frame[key].null_count() for key in self._keys):
            return chunk
        verdicts = [reject_when(self._reason_without(key), key, pl.col(key).is_null()) for key in self._keys]
        frame, rejected = split_rejects(frame, verdicts, self._location_columns(frame))
        return replace(chunk, frame=frame.drop(absent), rejected=pl.concat([chunk.rejected, rejected]))

    def _reason_without(self, key: str) -> str:
        """Return the reason of a row without key: that of the contract if the contract asks for the key."""
        declared = self._stream.contract.columns().get(key) if self._stream.contract else None
        return NO_KEY if declared is None or declared.nullable else "contract_nullability"

    def _rewrite(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rewrite columns; each keeps its type."""
        values = {name: value for name, value in self._stream.rewritten.items() if name in frame.columns}
        if not values:
            return frame
        try:
            for name, value in values.items():
                self._require_row_by_row(name, value, frame)
            return frame.with_columns(value.cast(frame.schema[name]).alias(name) for name, value in values.items())
        except pl.exceptions.PolarsError as error:
            # Its own words may hold a row's values.
            raise ConfigurationError(
                f"rewritten ({', '.join(values)}) cannot be computed ({type(error).__name__})",
                place=self._stream.place,
                remedy="use columns that every read has, and give values of the type that the column has",
            ) from None

    def _require_row_by_row(self, name: str, value: pl.Expr, frame: pl.DataFrame) -> None:
        if name in self._row_by_row:
            return
        if not is_row_by_row(value, frame.schema):
            raise ConfigurationError(
                f"rewritten[{name!r}] looks at several rows, and a row is rewritten by itself",
                place=self._stream.place,
                remedy="rewrite it in a model. For a function of Polars' map_batches, say is_elementwise=True where it "
                "is so",
            )
        self._row_by_row.add(name)

    def _location_columns(self, frame: pl.DataFrame) -> list[str]:
        """Return the columns of the row location; the key if the frame has none of them."""
        return [name for name in self._location if name in frame.columns] or self._keys
