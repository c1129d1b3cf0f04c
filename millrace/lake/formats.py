r"""The two formats of files in the lake: Parquet for Redshift's COPY, and CSV, which people can read too.

A file of either format gives back what was written, to the last digit: in CSV an empty text is quoted and NULL is
not, binary is hexadecimal behind ``\x``, times carry microseconds. Columns of no declared type (the row hash) are
text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.base.rejects import HEX
from millrace.base.single_rows import pad_single_row
from millrace.base.types import Column, Kind, arrow_type, polars_type, text
from millrace.declaration.captures import LandingFormat

CHUNK_ROWS = 50_000
"""How many rows are read at once."""
MEGABYTE = 1024 * 1024
PARQUET_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    # Dictionaries cost a third of the time, and made no measured file smaller than zstd alone.
    "use_dictionary": False,
    "store_schema": False,
}
_DATE, _TIMESTAMP = "%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.6f"
_UTC = "+00:00"


class OpenFile(Protocol):
    """A file that is being written; all of its frames have the same columns."""

    def write(self, frame: pl.DataFrame) -> None:
        """Add rows."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


@dataclass(frozen=True)
class Format:
    """A format of files."""

    suffix: str
    part_bytes: int
    """A file of this size is finished, and the next one is begun."""
    open: Callable[[Path, Sequence[Column]], OpenFile]
    _expressions: Callable[[Sequence[Column]], list[pl.Expr]]
    _scan: Callable[[Path], pl.LazyFrame]

    def read(self, path: Path, columns: Sequence[Column]) -> Iterator[pl.DataFrame]:
        """Yield the rows of a file in bounded frames, as they were before they were written."""
        rows = self._scan(path).select(self._expressions(columns))
        yield from rows.collect_batches(chunk_size=CHUNK_ROWS, maintain_order=True)


def find_columns(names: Sequence[str], columns: Sequence[Column]) -> list[Column]:
    """Return a column for every name: the one of ``columns``, or a column of texts if there is none."""
    declared = {column.name: column for column in columns}
    return [declared.get(name, Column(name, name, text())) for name in names]


class _ParquetFile:
    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._schema = pa.schema([(column.name, arrow_type(column.type)) for column in columns])
        # The greatest and the least of long values would be held several times over, and are of no use to COPY.
        measured = [
            column.name for column in columns if column.type.kind not in {Kind.TEXT, Kind.DOCUMENT, Kind.BINARY}
        ]
        self._writer = pq.ParquetWriter(
            path, self._schema, write_statistics=measured, memory_pool=pa.system_memory_pool(), **PARQUET_OPTIONS
        )

    def write(self, frame: pl.DataFrame) -> None:
        table = pad_single_row(frame).to_arrow(compat_level=pl.CompatLevel.newest()).slice(0, frame.height)
        self._writer.write_table(table.cast(self._schema))

    def close(self) -> None:
        self._writer.close()


class _CsvFile:
    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._file = path.open("wb")
        self._file.write((",".join(column.name for column in columns) + "\n").encode())

    def write(self, frame: pl.DataFrame) -> None:
        texts = frame.select(_to_csv(column) for column in self._columns)
        texts.write_csv(self._file, include_header=False, quote_style="necessary")

    def close(self) -> None:
        self._file.close()


def _to_csv(column: Column) -> pl.Expr:
    value, kind = pl.col(column.name), column.type.kind
    if kind is Kind.BINARY:
        return pl.concat_str(pl.lit(HEX), value.bin.encode("hex")).alias(column.name)
    if kind is Kind.TIMESTAMP:
        return value.dt.strftime(_TIMESTAMP)
    if kind is Kind.TIMESTAMP_UTC:
        return value.dt.strftime(_TIMESTAMP) + pl.lit(_UTC)
    return value


def _from_csv(columns: Sequence[Column]) -> list[pl.Expr]:
    return [_parse_csv(column) for column in columns]


def _parse_csv(column: Column) -> pl.Expr:
    value, kind = pl.col(column.name), column.type.kind
    if kind is Kind.BOOLEAN:
        return value == "true"
    if kind is Kind.DATE:
        return value.str.to_date(_DATE)
    if kind is Kind.BINARY:
        return value.str.strip_prefix(HEX).str.decode("hex")
    if kind in {Kind.TIMESTAMP, Kind.TIMESTAMP_UTC}:
        moment = value.str.strip_suffix(_UTC).str.to_datetime(_TIMESTAMP, time_unit="us")
        return moment.dt.replace_time_zone("UTC") if kind is Kind.TIMESTAMP_UTC else moment
    return value.cast(polars_type(column.type))


def _from_parquet(columns: Sequence[Column]) -> list[pl.Expr]:
    return [_restore(column) for column in columns]


def _restore(column: Column) -> pl.Expr:
    value = pl.col(column.name)
    if column.type.kind is Kind.TIMESTAMP:
        return value.dt.replace_time_zone(None)
    return value.cast(polars_type(column.type))


FORMATS: Mapping[LandingFormat, Format] = {
    # Inside Redshift's ideal of 1 to 125 MB.
    "parquet": Format("parquet", 64 * MEGABYTE, _ParquetFile, _from_parquet, pl.scan_parquet),
    # One object per table and run, however large: nothing loads it directly.
    "csv": Format("csv", 1024**4, _CsvFile, _from_csv, lambda path: pl.scan_csv(path, infer_schema=False)),
}
