"""COPY from Parquet: load files on S3 in the client's own transaction, all rows or none, in bounded memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from local.redshift.backend import Backend
from local.redshift.copy_statement import CopyStatement
from local.redshift.errors import INTERNAL_ERROR, SYNTAX_ERROR, ConnectionCut, RedshiftError
from local.redshift.lexer import quote_name, quote_string
from local.redshift.parquet_types import BadValue, Mismatch, TargetColumn, check, column_of, converter, leaf_count
from local.redshift.storage import S3Object, Storage

BATCH_ROWS, BATCH_BYTES, READ_BYTES = 50_000, 16 << 20, 1 << 20
CSV_OPTIONS = pa_csv.WriteOptions(include_header=False, quoting_style="all_valid")
COLUMNS_QUERY = """
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity <> '', a.attrelid
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = {table}::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


class LoadError(RedshiftError):
    """A COPY that failed because of its data, as sys_load_error_detail tells it; ``line_number`` counts rows from 1."""

    def __init__(
        self,
        error_code: int,
        context: str,
        file_name: str = "",
        line_number: int = 0,
        column: TargetColumn | None = None,
    ) -> None:
        super().__init__(INTERNAL_ERROR, "Spectrum Scan Error", detail=context)
        self.error_code, self.context = error_code, context
        self.file_name, self.line_number, self.column = file_name, line_number, column

    def error(self, copy_id: int) -> RedshiftError:
        """Return the error that the client reads."""
        line = "-" * 47
        detail = (
            f"\n  {line}\n  error:  Spectrum Scan Error\n  code:      {self.error_code}\n  context:   {self.context}"
            f", File name: {self.file_name}\n  query:     {copy_id}\n  location:  dory_util.cpp:1509\n"
            f"  process:   worker_thread [pid=1]\n  {line}\n"
        )
        rule = "COPY from columnar formats: columns by position, exact types, bytes counted, all or nothing"
        return RedshiftError(self.sqlstate, self.message, detail=detail, rule=rule)


class Copy:
    """One run of a COPY statement. ``cut_after_rows`` cuts the connection after so many rows were sent."""

    def __init__(
        self, statement: CopyStatement, backend: Backend, storage: Storage, *, cut_after_rows: int | None = None
    ) -> None:
        self.statement, self.backend, self.storage = statement, backend, storage
        self.cut_after_rows, self.row_count, self.table_id = cut_after_rows, 0, 0
        self.columns = self._target_columns()

    def _target_columns(self) -> list[TargetColumn]:
        rows = self.backend.fetch(COLUMNS_QUERY.format(table=quote_string(self.statement.table)))
        texts = [[(value or b"").decode() for value in row] for row in rows]
        self.table_id = int(texts[0][4]) if texts else 0
        found = [column_of(r[0], _plain(r[1]), not_null=r[2] == "t", identity=r[3] == "t") for r in texts]
        return self._pick_columns({column.name: column for column in found})

    def _pick_columns(self, columns: dict[str, TargetColumn]) -> list[TargetColumn]:
        explicit = "EXPLICIT_IDS" in self.statement.options
        names = self.statement.columns or [c.name for c in columns.values() if explicit or not c.identity]
        for name in names:
            if name not in columns or names.count(name) > 1:
                raise RedshiftError("42703", f'column "{name}" does not exist or is named twice in the column list')
        if explicit != any(columns[name].identity for name in names):
            raise RedshiftError(
                SYNTAX_ERROR,
                "EXPLICIT_IDS and the IDENTITY column in the column list go together",
                rule="COPY: an IDENTITY column in the list needs EXPLICIT_IDS, and the other way round",
            )
        return [columns[name] for name in names]

    def run(self) -> int:
        """Load all files, and return the number of rows. Raises LoadError or RedshiftError; then nothing was loaded."""
        listing = self.storage.manifest if "MANIFEST" in self.statement.options else self.storage.objects
        objects = listing(self.statement.location)
        names = ", ".join(quote_name(column.name) for column in self.columns)
        sql = f"COPY {self.statement.table} ({names}) FROM STDIN (FORMAT csv)"
        self.backend.copy_in(sql, _one_ahead(self._chunks(objects)))
        return self.row_count

    def _chunks(self, objects: list[S3Object]) -> Iterator[bytes]:
        for item in objects:
            with self.storage.open(item) as file:
                try:
                    yield from self._file_chunks(item, pq.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False))
                except (pa.ArrowInvalid, OSError) as error:
                    raise LoadError(15007, f"The file is no Parquet file or is damaged: {error}", item.url) from error

    def _file_chunks(self, item: S3Object, parquet: pq.ParquetFile) -> Iterator[bytes]:
        converters = self._converters(item, parquet)
        first_row = 0
        for batch in parquet.iter_batches(_batch_rows(parquet.metadata)):
            yield self._chunk(item, batch, converters, first_row)
            first_row += batch.num_rows
            self.row_count += batch.num_rows
            if self.cut_after_rows is not None and self.row_count >= self.cut_after_rows:
                raise ConnectionCut

    def _converters(self, item: S3Object, parquet: pq.ParquetFile) -> list[Callable[[pa.Array], pa.Array]]:
        fields = parquet.schema_arrow
        too_few = len(fields) < len(self.columns) and "FILLRECORD" not in self.statement.options
        if too_few or len(fields) > len(self.columns):
            context = f"Unmatched number of columns between table and file. Table columns: {len(self.columns)}, "
            raise LoadError(15007, f"{context}Data columns: {len(fields)}", item.url)
        converters, leaf = [], 0
        for column, field in zip(self.columns, fields, strict=False):
            self._check(item, column, parquet.schema.column(leaf), field.type)
            leaf += leaf_count(field.type)
            converters.append(converter(column, nested=pa.types.is_nested(field.type)))
        return converters

    def _check(self, item: S3Object, column: TargetColumn, leaf: pq.ColumnSchema, arrow_type: pa.DataType) -> None:
        try:
            check(column, leaf, arrow_type, serialize_to_json="SERIALIZETOJSON" in self.statement.options)
        except Mismatch as mismatch:
            context = (
                f"File '{item.url}' has an incompatible Parquet schema for column '{column.name}'. Column type: "
                f"{column.written}, Parquet schema: {leaf.physical_type} {leaf.logical_type} ({mismatch})"
            )
            raise LoadError(15007, context, item.url, 0, column) from mismatch

    def _chunk(
        self, item: S3Object, batch: pa.RecordBatch, converters: list[Callable[[pa.Array], pa.Array]], first_row: int
    ) -> bytes:
        arrays = []
        for column, convert, array in zip(self.columns, converters, batch.columns, strict=False):
            try:
                arrays.append(convert(array))
            except BadValue as bad:
                raise LoadError(15007, str(bad), item.url, first_row + bad.row + 1, column) from bad
        arrays += [pa.nulls(batch.num_rows, pa.string()) for _ in self.columns[len(arrays) :]]
        sink = io.BytesIO()
        pa_csv.write_csv(pa.RecordBatch.from_arrays(arrays, [c.name for c in self.columns]), sink, CSV_OPTIONS)
        return sink.getvalue()


def _batch_rows(metadata: pq.FileMetaData) -> int:
    """Return a number of rows with which a batch stays small, however wide a row is."""
    size_bytes: int = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    row_count: int = metadata.num_rows
    return max(1, min(BATCH_ROWS, BATCH_BYTES * row_count // max(size_bytes, 1)))


def _one_ahead(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same chunks; the next one is prepared while the last is on its way to PostgreSQL."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, chunks, None)
        while (chunk := pending.result()) is not None:
            pending = pool.submit(next, chunks, None)
            yield chunk


def _plain(formatted_type: str) -> str:
    """Return PostgreSQL's type under the name that Redshift gives it."""
    return formatted_type.removeprefix("pg_catalog.")
