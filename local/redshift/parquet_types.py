"""Which Parquet type may be loaded into which column, and how its values are prepared for PostgreSQL's COPY."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

INTEGERS = {"smallint": ("INT32", 16), "integer": ("INT32", 32), "bigint": ("INT64", 64)}
EIGHT_BYTE_DIGITS = 19
"""A decimal of so many digits is kept in eight bytes: 19 nines overflow."""
PHYSICAL = {"real": "FLOAT", "double precision": "DOUBLE", "boolean": "BOOLEAN"}
ARROW = {
    "smallint": pa.int16(), "integer": pa.int32(), "bigint": pa.int64(), "real": pa.float32(),
    "double precision": pa.float64(), "boolean": pa.bool_(), "date": pa.date32(),
}  # fmt: skip


@dataclass(frozen=True)
class TargetColumn:
    """A column as the catalog describes it: the name of its type, and the parameters of the type as fields."""

    name: str
    type: str
    length_bytes: int = 0
    precision: int = 0
    scale: int = 0
    not_null: bool = False
    identity: bool = False

    @property
    def written(self) -> str:
        """The type as Redshift writes it."""
        if self.type == "numeric":
            return f"DECIMAL({self.precision}, {self.scale})"
        return f"{self.type.upper()}({self.length_bytes})" if self.length_bytes else self.type.upper()


class Mismatch(Exception):
    """Raised when a Parquet column does not fit; the text says which rule it breaks."""


class BadValue(Exception):
    """Raised when a value does not fit its column; ``row`` counts from 0 within the batch."""

    def __init__(self, context: str, row: int) -> None:
        super().__init__(context)
        self.row = row


def column_of(name: str, formatted_type: str, *, not_null: bool, identity: bool) -> TargetColumn:
    """Return the column that has PostgreSQL's ``format_type``, such as ``numeric(10,2)``."""
    found = re.fullmatch(r"([a-z_ ]+?)(?:_(\d+))?(?:\((\d+)(?:,(\d+))?\))?( with(?:out)? time zone)?", formatted_type)
    if found is None:
        return TargetColumn(name, formatted_type, not_null=not_null, identity=identity)
    base, domain_length, first, second, zone = found.groups()
    number = int(domain_length or first or 0)
    if base == "numeric":
        return TargetColumn(name, base, 0, number, int(second or 0), not_null, identity)
    return TargetColumn(name, base + (zone or ""), number, 0, 0, not_null, identity)


def leaf_count(arrow_type: pa.DataType) -> int:
    """Return how many Parquet columns an Arrow field takes."""
    if pa.types.is_map(arrow_type):
        return leaf_count(arrow_type.key_type) + leaf_count(arrow_type.item_type)
    if pa.types.is_nested(arrow_type):
        return sum(leaf_count(arrow_type.field(index).type) for index in range(arrow_type.num_fields))
    return 1


def check(column: TargetColumn, leaf: pq.ColumnSchema, arrow_type: pa.DataType, *, serialize_to_json: bool) -> None:
    """Raise Mismatch unless the Parquet column may be loaded into the column."""
    logical = json.loads(leaf.logical_type.to_json())
    if pa.types.is_nested(arrow_type):
        if column.type != "super" or not serialize_to_json:
            raise Mismatch("structs, lists and maps load into SUPER with SERIALIZETOJSON only")
        return
    problem = _problem(column, leaf, logical)
    if problem:
        raise Mismatch(problem)


def _problem(column: TargetColumn, leaf: pq.ColumnSchema, logical: dict[str, Any]) -> str:
    kind, physical = logical.get("Type", "None"), leaf.physical_type
    if kind == "Int" and not logical["isSigned"]:
        return "unsigned integers cannot be loaded: cast up before writing"
    if column.type in INTEGERS:
        wanted, bits = INTEGERS[column.type]
        width = logical["bitWidth"] if kind == "Int" else {"INT32": 32, "INT64": 64}.get(physical, 0)
        return "" if (physical, width) == (wanted, bits) and kind in ("Int", "None") else f"needs {bits}-bit integers"
    if column.type in PHYSICAL:
        return "" if physical == PHYSICAL[column.type] and kind == "None" else f"needs {PHYSICAL[column.type]}"
    if column.type == "date":
        return "" if kind == "Date" else "needs DATE"
    if column.type.startswith("timestamp"):
        return _timestamp_problem(column, physical, logical)
    if column.type.startswith("time"):
        return "TIME columns cannot be loaded from Parquet: stage as text or integer"
    return _bytes_problem(column, leaf, kind, logical)


def _timestamp_problem(column: TargetColumn, physical: str, logical: dict[str, Any]) -> str:
    if logical.get("Type") != "Timestamp" or physical != "INT64":
        return "needs TIMESTAMP in microseconds"
    if logical["timeUnit"] != "microseconds":
        return f"needs microseconds, the file has {logical['timeUnit']} (nanoseconds load as wrong years)"
    if column.type == "timestamp with time zone" and not logical["isAdjustedToUTC"]:
        return "TIMESTAMPTZ needs timestamps adjusted to UTC"
    return ""


def _bytes_problem(column: TargetColumn, leaf: pq.ColumnSchema, kind: str, logical: dict[str, Any]) -> str:
    if column.type == "numeric":
        if kind != "Decimal" or leaf.physical_type != "FIXED_LEN_BYTE_ARRAY":
            return "needs DECIMAL as FIXED_LEN_BYTE_ARRAY (decimals held in integers are not proven to load)"
        same = (logical["precision"], logical["scale"]) == (column.precision, column.scale)
        length = decimal_bytes(column.precision)
        return "" if same and leaf.length == length else f"needs exactly {column.written} in {length} bytes"
    if leaf.physical_type != "BYTE_ARRAY":
        return "needs BYTE_ARRAY"
    if column.type == "varbyte":
        return "" if kind == "None" else "VARBYTE needs binary without a logical type"
    if column.type in ("character varying", "character", "super"):
        return "" if kind == "String" else "needs STRING (UTF8)"
    return f"{column.written} cannot be loaded from Parquet"


def decimal_bytes(precision: int) -> int:
    """Return the smallest size of a two's complement number with so many digits; Redshift requires this size."""
    bits: int = 1 + (10**precision - 1).bit_length()
    return (bits + 7) // 8


def converter(column: TargetColumn, *, nested: bool) -> Callable[[pa.Array], pa.Array]:
    """Return a function that converts a batch's column to one that CSV can hold; it raises BadValue."""

    def convert(array: pa.Array) -> pa.Array:
        if column.not_null and array.null_count:
            raise BadValue(f"Missing data for not-null field {column.name}", pc.index(pc.is_null(array), True).as_py())
        if nested:
            return _json(array)
        return _convert(column, array)

    return convert


def _convert(column: TargetColumn, array: pa.Array) -> pa.Array:
    if column.type in ("character varying", "character", "super"):
        text = array.cast(pa.large_string())
        _check_text(column, text)
        return _json(text) if column.type == "super" else text
    if column.type == "varbyte":
        binary = array.cast(pa.large_binary())
        _check_length(column, binary)
        return _hexadecimal(binary)
    if column.type == "timestamp with time zone":
        return _add_zone(array)
    if column.type == "timestamp without time zone":
        return array.cast(pa.timestamp("us"))
    if (column.type, column.precision) == ("numeric", EIGHT_BYTE_DIGITS):
        _check_overflow(column, array)
    return array.cast(ARROW[column.type]) if column.type in ARROW else array


def _check_overflow(column: TargetColumn, numbers: pa.Array) -> None:
    greatest = pa.scalar(Decimal(2**63 - 1).scaleb(-column.scale), pa.decimal128(38, column.scale))
    is_over = pc.greater(pc.abs(numbers.cast(pa.decimal128(38, column.scale))), greatest)
    if pc.any(is_over).as_py():
        raise BadValue(f"Numeric overflow in column {column.name}", pc.index(is_over, True).as_py())


def _add_zone(array: pa.Array) -> pa.Array:
    # Arrow writes timestamps without a zone twenty times as fast as those with one.
    text = array.cast(pa.timestamp("us")).cast(pa.string())
    return pc.binary_join_element_wise(text, "+00", "")


def _check_text(column: TargetColumn, text: pa.Array) -> None:
    _check_length(column, text)
    found = pc.match_substring(text, "\0")
    if pc.any(found).as_py():
        raise BadValue(
            f"The column {column.name} holds U+0000, which VARCHAR cannot store", pc.index(found, True).as_py()
        )


def _check_length(column: TargetColumn, values: pa.Array) -> None:
    lengths = pc.binary_length(values)
    longest = pc.max(lengths).as_py() or 0
    limit = column.length_bytes or 65_535
    if longest > limit:
        raise BadValue(
            f"The length of the data column {column.name} is longer than the length defined in the table. "
            f"Table: {limit}, Data: {longest}",
            pc.index(pc.greater(lengths, limit), True).as_py(),
        )


def _hexadecimal(binary: pa.Array) -> pa.Array:
    series = polars.Series("value", polars.from_arrow(binary))
    return series.to_frame().select(polars.lit("\\x") + polars.col("value").bin.encode("hex")).to_series().to_arrow()


def _json(values: pa.Array) -> pa.Array:
    """Return each value as JSON, so that a string in a SUPER stays a string and is not parsed."""
    texts = [None if value is None else orjson.dumps(value, default=str).decode() for value in values.to_pylist()]
    return pa.array(texts, pa.large_string())
