"""A stream's batch of the landing zone: its rows are read in bounded frames, and copied to the processed zone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from millrace.base.disk import TemporaryFolder, translate_full_disk
from millrace.base.errors import FatalError
from millrace.base.naming import column_name
from millrace.base.types import polars_type
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch, Part
from millrace.lake.batch_writer import BatchWriter, FileKind
from millrace.lake.formats import FORMATS, find_columns
from millrace.lake.store import ObjectStore
from millrace.models.readings import NO_NUMBERS, NUMBER, find_outdated, number_rows


class LandedStream:
    """Reads a stream's batch from the landing zone.

    ``writer`` writes the copy in the processed zone; None: the batch is not copied.
    """

    def __init__(self, stream: Stream, batch: Batch, landing: ObjectStore, writer: BatchWriter | None) -> None:
        self.batch, self._stream, self._landing, self._writer = batch, stream, landing, writer
        columns = (*batch.columns, *batch.coverage.absent_columns)
        self.empty = pl.DataFrame(schema={column.name: polars_type(column.type) for column in columns})
        """A frame without rows that has all columns."""

    def copy_rows(self, *, feeds_models: bool) -> Iterator[pl.DataFrame]:
        """Copy the rows, and yield them with all columns.

        If they feed models, only the latest reading of a row that was read more than once is yielded.
        """
        outdated = self._find_outdated() if feeds_models else NO_NUMBERS
        for frame in number_rows(self._copy("part", self.batch.files.rows)):
            counting = frame.join(outdated, on=NUMBER, how="anti") if outdated.height else frame
            yield self._with_all_columns(counting)

    def copy_deletes(self) -> pl.DataFrame:
        """Copy the keys of deleted rows, and return them with all columns."""
        return pl.concat([self.empty, *self._copy("delete", self.batch.files.deletes)], how="diagonal")

    def copy_sample(self) -> None:
        """Copy the rows that the target is compared with after the load."""
        for _ in self._copy("sample", self.batch.files.sample):
            pass

    def read_former_rows(self) -> Iterator[pl.DataFrame]:
        """Yield the rows that the target keeps because they were rejected or not read."""
        return (self._with_all_columns(frame) for frame in self._read(self.batch.files.former))

    def finish(self) -> Batch | None:
        """Return the batch of the processed zone, whose manifest is not written yet; None if the batch is not copied.

        It has no former rows: models were given them, and nothing loads them.
        """
        if self._writer is None:
            return None
        files = replace(self._writer.finish(), longest_bytes=self.batch.files.longest_bytes)
        return replace(self.batch, files=files, progress=replace(self.batch.progress, origin=self.batch.manifest_key))

    def _with_all_columns(self, frame: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([self.empty, frame], how="diagonal").select(self.empty.columns)

    def _copy(self, kind: FileKind, parts: Sequence[Part]) -> Iterator[pl.DataFrame]:
        for frame in self._read(parts):
            if self._writer is not None:
                self._writer.write(kind, frame, self.batch.columns)
            yield frame

    def _find_outdated(self) -> pl.DataFrame:
        """Return the numbers of the rows that a model must not get; none for a log, in which every row counts."""
        if not self.batch.row_id_column or self._stream.load.dated_by:
            return NO_NUMBERS
        cursor = column_name(self._stream.capture.stamp) if self._stream.capture.stamp else ""
        latest = cursor if cursor in [column.name for column in self.batch.columns] else ""
        rows = self._read(self.batch.files.rows)
        return find_outdated(rows, self.batch.written, self.batch.row_id_column, latest)

    def _read(self, parts: Sequence[Part]) -> Iterator[pl.DataFrame]:
        yield from read_parts(self.batch, parts, self._landing)


def read_parts(batch: Batch, parts: Sequence[Part], store: ObjectStore) -> Iterator[pl.DataFrame]:
    """Yield the rows of files of a batch. Raises FatalError when a file is not the one that was written."""
    for part in parts:
        yield from _read_part(batch, part, store)


def _read_part(batch: Batch, part: Part, store: ObjectStore) -> Iterator[pl.DataFrame]:
    """Yield the rows of a file. Raises FatalError when the file is not the one that was written."""
    with TemporaryFolder() as directory, translate_full_disk(part.key):
        path = directory / "part"
        store.get_file(part.key, path)
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != part.sha256:
                raise FatalError(
                    "the object is not the one that was written: its checksum differs",
                    place=store.uri(part.key),
                    remedy="find out who changed it; run again to read the same changes again",
                )
        yield from FORMATS[batch.files.form].read(path, find_columns(part.columns, batch.columns))
