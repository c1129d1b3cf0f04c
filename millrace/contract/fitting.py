"""Chunks as a target takes them: rewritten, without what the schema policy forbids, with rejected rows set apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from millrace.base.errors import ConfigurationError, KeyViolation
from millrace.base.naming import MESSAGE_ADDRESS, column_name
from millrace.base.rejects import NO_KEY, reject_when, split_rejects
from millrace.base.types import Column
from millrace.contract.check import Limits, meets_contract, with_room, within_limits
from millrace.contract.seen_fields import SeenFields
from millrace.contract.target import fits_target
from millrace.declaration.captures import rejects_changes
from millrace.declaration.contract_rules import is_row_by_row
from millrace.declaration.stream import Stream
from millrace.declaration.width import refuse_too_many_columns
from millrace.sources.chunk import Chunk


class Fitting:
    """Fits the chunks of one read to the target: ``fit``, then ``accept``.

    ``known`` are the target's columns, ``limits`` the greatest sizes of its values, ``coordinates`` the columns that
    say where a row is in the source. ``seen`` collects the fields that had a value.
    """

    def __init__(self, stream: Stream, limits: Limits, known: Sequence[Column], coordinates: Sequence[str]) -> None:
        self._stream, self._limits, self._known, self._in_source = stream, limits, known, coordinates
        self._keys = [column_name(key) for key in stream.keys]
        self._found = {column.name: column for column in known}
        self._row_by_row: set[str] = set()
        self.seen = SeenFields(stream)

    def fit(self, chunk: Chunk) -> Chunk:
        """The chunk with what the stream rewrites, and as the target takes it, where the stream's schema policy says
        that the target stays as it is.

        Raises KeyViolation when no row has the key, SchemaConflict when there are more columns than a table takes.
        """
        self._require_key(chunk.frame)
        self.seen.add(chunk)
        chunk = self._keyed(replace(chunk, frame=self._rewritten(chunk.frame)))
        if rejects_changes(self._stream.schema_policy):
            frame, columns, rejected = fits_target(
                chunk.frame, chunk.columns, self._known, self._keys, self._coordinates(chunk.frame)
            )
            chunk = Chunk(frame, columns, pl.concat([chunk.rejected, rejected]))
        chunk = Chunk(*with_room(chunk.frame, chunk.columns, self._limits), chunk.rejected)
        self._found = {column.name: column for column in chunk.columns} | self._found
        refuse_too_many_columns(self._stream, [column.path for column in self._found.values()])
        return chunk

    def accept(self, chunk: Chunk) -> tuple[pl.DataFrame, tuple[Column, ...], pl.DataFrame]:
        """Rows and columns for the target, and every row that cannot go there."""
        coordinates = self._coordinates(chunk.frame)
        accepted, too_long = within_limits(chunk.frame, chunk.columns, coordinates, self._limits)
        rejected = [chunk.rejected, too_long]
        if self._stream.contract is not None:
            accepted, broken = meets_contract(accepted, self._stream.contract, self._stream, coordinates)
            rejected.append(broken)
        accepted = accepted.drop(MESSAGE_ADDRESS) if MESSAGE_ADDRESS in accepted.columns else accepted
        return accepted, chunk.columns, pl.concat(rejected)

    @property
    def known(self) -> Sequence[Column]:
        """The target's columns and those that were met since: what this batch reads again becomes the same rows."""
        return tuple(self._found.values())

    def _keyed(self, chunk: Chunk) -> Chunk:
        """Documents without a key are rejected one by one; tables declare their keys."""
        if not self._stream.is_of_documents or not chunk.frame.height:
            return chunk
        verdicts = [reject_when(self._reason_without(key), key, pl.col(key).is_null()) for key in self._keys]
        frame, rejected = split_rejects(chunk.frame, verdicts, self._coordinates(chunk.frame))
        return replace(chunk, frame=frame, rejected=pl.concat([chunk.rejected, rejected]))

    def _reason_without(self, key: str) -> str:
        """The contract's own reason where the contract asks for the key."""
        declared = self._stream.contract.columns().get(key) if self._stream.contract else None
        return NO_KEY if declared is None or declared.nullable else "contract_nullability"

    def _rewritten(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Each in the type it had."""
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
                place=self._place,
                remedy="use columns that every read has, and give values of the type that the column has",
            ) from None

    def _require_row_by_row(self, name: str, value: pl.Expr, frame: pl.DataFrame) -> None:
        if name in self._row_by_row:
            return
        if not is_row_by_row(value, frame.schema):
            raise ConfigurationError(
                f"rewritten[{name!r}] looks at several rows, and a row is rewritten by itself",
                place=self._place,
                remedy="rewrite it in a model. For a function of Polars' map_batches, say is_elementwise=True where it "
                "is so",
            )
        self._row_by_row.add(name)

    def _coordinates(self, frame: pl.DataFrame) -> list[str]:
        """Columns that tell where a rejected row is; the key where no column of the frame does better."""
        return [name for name in self._in_source if name in frame.columns] or self._keys

    def _require_key(self, frame: pl.DataFrame) -> None:
        if frame.height and (absent := [key for key in self._keys if key not in frame.columns]):
            raise KeyViolation(
                f"no row has the key ({', '.join(absent)})",
                place=self._place,
                remedy="declare a key that every row has",
            )

    @property
    def _place(self) -> str:
        return f"stream {self._stream.name} ({self._stream.source})"
