"""UNLOAD to Parquet: write a query's rows into files on S3, in bounded memory."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator

import polars
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from local.redshift.backend import Backend
from local.redshift.copy_statement import UnloadStatement
from local.redshift.errors import INTERNAL_ERROR, RedshiftError
from local.redshift.storage import S3Object, Storage
from local.redshift.wire import BYTEA, columns_of

CHUNK_BYTES = 8 << 20
TYPES = {
    16: pa.bool_(), 20: pa.int64(), 21: pa.int16(), 23: pa.int32(), 700: pa.float32(), 701: pa.float64(),
    1082: pa.date32(), 1114: pa.timestamp("us"), 1184: pa.timestamp("us", "UTC"),
}  # fmt: skip
NUMERIC, NUMERIC_MODIFIER_OFFSET = 1700, 4


def unload(statement: UnloadStatement, query: str, backend: Backend, storage: Storage) -> int:
    """Write the query's rows, and return their number. Refuses to overwrite without ALLOWOVERWRITE."""
    return _Unload(statement, storage).run(query, backend)


class _Unload:
    def __init__(self, statement: UnloadStatement, storage: Storage) -> None:
        self.statement, self.storage = statement, storage
        self.entries: list[dict[str, object]] = []
        self.row_count = 0
        if "ALLOWOVERWRITE" not in statement.options:
            self._refuse_overwriting()

    def _refuse_overwriting(self) -> None:
        try:
            self.storage.objects(self.statement.location)
        except RedshiftError as error:
            if "does not exist" in error.message and "prefix" in error.message:
                return
            raise
        raise RedshiftError(
            INTERNAL_ERROR,
            "Specified unload destination on S3 is not empty. Consider using a different bucket / prefix, manually "
            "removing the target files in S3, or using the ALLOWOVERWRITE option.",
            rule="UNLOAD: ALLOWOVERWRITE",
        )

    def run(self, query: str, backend: Backend) -> int:
        schema, binary = _schema(query, backend)
        chunks = _tables(query, backend, schema, binary)
        pending: pa.Table | None = next(chunks, None)
        while pending is not None:
            pending = self._file(pending, chunks)
        if "MANIFEST" in self.statement.options:
            content = json.dumps({"entries": self.entries}).encode()
            self.storage.write(f"{self.statement.location}manifest", io.BytesIO(content))
        return self.row_count

    def _file(self, table: pa.Table, chunks: Iterator[pa.Table]) -> pa.Table | None:
        """Write one file that begins with the table. Return the rows that belong to the next file, if any."""
        following: pa.Table | None = table
        with tempfile.TemporaryFile() as file:
            with pq.ParquetWriter(file, table.schema) as writer:
                while following is not None:
                    writer.write_table(following)
                    self.row_count += following.num_rows
                    following = next(chunks, None)
                    if self.statement.maximum_bytes and file.tell() > self.statement.maximum_bytes - CHUNK_BYTES:
                        break
            self._store(file)
        return following

    def _store(self, file: tempfile._TemporaryFileWrapper[bytes] | io.BufferedRandom) -> None:
        number = len(self.entries)
        suffix = (
            f"{number:03}.parquet" if "PARALLEL OFF" in self.statement.options else f"0000_part_{number:02}.parquet"
        )
        url, length = self.statement.location + suffix, file.tell()
        file.seek(0)
        self.storage.write(S3Object(url).url, file)
        self.entries.append({"url": url, "meta": {"content_length": length}})


def _schema(query: str, backend: Backend) -> tuple[pa.Schema, list[str]]:
    # Every answer is read: one left in the channel would be taken for the next statement's.
    answers = list(backend.stream(f"SELECT * FROM ({query}) AS unloaded LIMIT 0"))
    columns = columns_of(next(answer.payload for answer in answers if answer.kind == b"T"))
    schema = pa.schema([(name, _arrow_type(type_id, modifier)) for name, type_id, modifier in columns])
    return schema, [name for name, type_id, _ in columns if type_id == BYTEA]


def _arrow_type(type_id: int, modifier: int) -> pa.DataType:
    if type_id == NUMERIC:
        packed = modifier - NUMERIC_MODIFIER_OFFSET
        return pa.decimal128(packed >> 16, packed & 0x7FF) if modifier >= 0 else pa.decimal128(38, 0)
    return TYPES.get(type_id, pa.string())


def _tables(query: str, backend: Backend, schema: pa.Schema, binary: list[str]) -> Iterator[pa.Table]:
    buffer = io.BytesIO()
    for message in backend.stream(f"COPY ({query}) TO STDOUT (FORMAT csv)"):
        if message.kind == b"d":
            buffer.write(message.payload)
        if buffer.tell() >= CHUNK_BYTES:
            yield _table(buffer.getvalue(), schema, binary)
            buffer = io.BytesIO()
    yield _table(buffer.getvalue(), schema, binary)


def _table(csv: bytes, schema: pa.Schema, binary: list[str]) -> pa.Table:
    if not csv:
        return schema.empty_table()
    convert = pa_csv.ConvertOptions(
        column_types=schema,
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
        true_values=["t"],
        false_values=["f"],
    )
    read = pa_csv.ReadOptions(column_names=schema.names)
    table = pa_csv.read_csv(io.BytesIO(csv), read, pa_csv.ParseOptions(newlines_in_values=True), convert)
    for name in binary:
        frame = polars.Series(name, polars.from_arrow(table[name])).to_frame()
        decoded = frame.select(polars.col(name).str.slice(2).str.decode("hex")).to_series().to_arrow()
        table = table.set_column(table.schema.get_field_index(name), name, decoded.cast(pa.binary()))
    return table
