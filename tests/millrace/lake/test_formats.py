"""The landing zone's files: what was written comes back to the last bit, in CSV as in Parquet."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from local.stack import Stack
from millrace import Pipeline
from millrace.base.errors import FatalError
from millrace.base.naming import ROW_HASH
from millrace.base.types import (
    BINARY,
    BOOLEAN,
    DATE,
    DOCUMENT,
    FLOAT32,
    FLOAT64,
    INT16,
    INT32,
    INT64,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMP_UTC,
    Column,
    DataType,
    Kind,
    decimal,
    polars_type,
)
from millrace.blocks.store import BucketStore
from millrace.declaration.captures import LandingFormat
from millrace.hashes.row_hash import add_row_hash
from millrace.lake import formats
from millrace.lake.batch import MANIFEST_NAME, batch_prefix, new_batch_id
from millrace.lake.formats import FORMATS, MEGABYTE, find_columns
from millrace.lake.manifest import read_manifest
from millrace.lake.part_writer import PartWriter
from millrace.runs.choose import ReadRequest
from tests.support.engine import Together
from tests.support.shop import ORDERS, SHOP, fill

BOTH: list[LandingFormat] = ["csv", "parquet"]
HOSTILE_TEXTS = (
    "", "NULL", "null", "None", "\\N", "NaN", " ", "  in the middle  ", "\t", "a,b", 'say "hi"', '"', '""', '","', "'",
    "\n", "\r", "\r\n", "two\nlines", "a\rb", '",\n"', "\\", "\\x00", "#", "\x00", "\x1f", "\u2028", "\ufeff", "é😀",
)  # fmt: skip
MOMENTS = [
    datetime(1, 1, 1, 0, 0, 0, 1, UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
]
EDGES: list[tuple[DataType, Sequence[Any]]] = [
    (BOOLEAN, (True, False)),
    (INT16, (-(2**15), 2**15 - 1, 0)),
    (INT32, (-(2**31), 2**31 - 1, 0)),
    (INT64, (-(2**63), 2**63 - 1, 2**53 + 1)),
    (FLOAT32, (0.0, -0.0, float("nan"), float("inf"), -float("inf"), 2.0**-149, (2 - 2.0**-23) * 2.0**127)),
    (FLOAT64, (0.0, -0.0, float("nan"), float("inf"), -float("inf"), 5e-324, 1.7976931348623157e308, 0.1, 2.0**-1022)),
    (decimal(38, 0), (Decimal("9" * 38), Decimal("-" + "9" * 38), Decimal(0))),
    (decimal(38, 37), (Decimal("9." + "9" * 37), Decimal("-0." + "0" * 36 + "1"))),
    (decimal(12, 2), (Decimal("-0.01"), Decimal("1.10"), Decimal("9999999999.99"))),
    (TEXT, HOSTILE_TEXTS),
    (DATE, (date(1, 1, 1), date(1582, 10, 10), date(1969, 12, 31), date(9999, 12, 31))),
    (TIME, ("00:00:00.000000", "23:59:59.999999", "24:00:00.000000")),
    (TIMESTAMP, [moment.replace(tzinfo=None) for moment in MOMENTS]),
    (TIMESTAMP_UTC, MOMENTS),
    (BINARY, (b"", b"\x00\xff", b"\\x41", b'\r\n,"')),
    (DOCUMENT, ("{}", "null", '{"a":"1,2","b":[null,"\\n"]}', "[]")),
]
TRAPS = r"""
CREATE TABLE traps (order_id int PRIMARY KEY, body text, raw bytea, doc jsonb, at time, price numeric(38,9),
    factor float8, born date, changed timestamptz DEFAULT now());
INSERT INTO traps VALUES
    (1, '', '', '{}', '00:00', 0, '-0', '0001-01-01'),
    (2, 'NULL', '\x00', 'null', '24:00', -0.000000001, 'NaN', '9999-12-31'),
    (3, E'a\n"b",\r', '\xff', '[""]', '12:34:56.1', 1, 'Infinity', '2000-02-29');
INSERT INTO traps VALUES (4);
"""


def through(form: LandingFormat, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """Into a file and out of it."""
    own = find_columns(frame.columns, columns)
    with TemporaryDirectory(prefix="millrace-test-") as directory:
        path = Path(directory) / "part"
        file = FORMATS[form].open(path, own)
        file.write(frame)
        file.close()
        return pl.concat(FORMATS[form].read(path, own))


def column_of(data_type: DataType, values: Sequence[Any]) -> tuple[pl.DataFrame, list[Column]]:
    frame = pl.DataFrame({"value": pl.Series(values, dtype=polars_type(data_type))})
    return frame, [Column("value", "value", data_type)]


def to_the_bit(frame: pl.DataFrame) -> list[object]:
    return [struct.pack(">d", value) if isinstance(value, float) else value for value in frame["value"]]


@pytest.mark.parametrize("form", BOTH)
@pytest.mark.parametrize(("data_type", "values"), EDGES, ids=lambda value: str(value)[:12])
def test_every_value_comes_back_to_the_bit(form: LandingFormat, data_type: DataType, values: Sequence[Any]) -> None:
    frame, columns = column_of(data_type, [None, *values, None])
    for written in (frame, add_row_hash(frame, columns)):
        read = through(form, written, columns)
        assert read.schema == written.schema
        assert to_the_bit(read) == to_the_bit(written)


def test_every_kind_has_its_edges_here() -> None:
    assert {data_type.kind for data_type, _ in EDGES} == set(Kind)


@pytest.mark.parametrize("form", BOTH)
@pytest.mark.parametrize(("data_type", "values"), EDGES, ids=lambda value: str(value)[:12])
def test_the_row_hash_is_the_same_on_both_sides(
    form: LandingFormat, data_type: DataType, values: Sequence[Any]
) -> None:
    frame, columns = column_of(data_type, [*values, None])
    before = add_row_hash(frame, columns)
    after = through(form, before, columns)
    assert after[ROW_HASH].to_list() == before[ROW_HASH].to_list()
    assert add_row_hash(after.drop(ROW_HASH), columns)[ROW_HASH].to_list() == before[ROW_HASH].to_list()


@settings(max_examples=30)
@given(
    some.lists(some.none() | some.floats(allow_nan=False), min_size=1, max_size=200),
    some.lists(some.none() | some.text(some.sampled_from('",\n\r \\xé0')), min_size=1, max_size=200),
)
def test_any_float_and_any_text_comes_back_from_csv(floats: list[float | None], texts: list[str | None]) -> None:
    for data_type, values in ((FLOAT64, floats), (TEXT, texts)):
        frame, columns = column_of(data_type, values)
        assert to_the_bit(through("csv", frame, columns)) == to_the_bit(frame)


def test_lines_within_a_text_do_not_split_a_row_wherever_a_reader_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that counts lines in parallel must not begin within a quoted text: 20 MB of nothing but traps."""
    monkeypatch.setattr(formats, "CHUNK_ROWS", 1_000)
    draw = Random(4)  # noqa: S311 - it must be repeatable, not secret
    pieces = ['"', ",", "\n", "\r\n", '""', "a", "NULL", " ", '",\n"']
    texts = ["".join(draw.choices(pieces, k=draw.randrange(12))) for _ in range(50_000)] + [
        "\n" * 200_000,
        '"' * 99_999,
    ]
    frame, columns = column_of(TEXT, [*texts * 2, None])
    assert through("csv", frame, columns).equals(frame)


def test_a_file_is_read_in_bounded_frames(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(formats, "CHUNK_ROWS", 100)
    frame, columns = column_of(INT32, range(1_050))
    for form in BOTH:
        file = FORMATS[form].open(tmp_path / form, columns)
        file.write(frame)
        file.close()
        frames = list(FORMATS[form].read(tmp_path / form, columns))
        assert max(one.height for one in frames) <= 100
        assert pl.concat(frames).equals(frame), "in order"


def test_a_person_can_read_the_csv(tmp_path: Path) -> None:
    columns = [
        Column("id", "id", INT32), Column("at", "at", TIMESTAMP_UTC), Column("raw", "raw", BINARY),
        Column("price", "price", decimal(10, 2)), Column("note", "note", TEXT), Column("paid", "paid", BOOLEAN),
    ]  # fmt: skip
    rows = [
        (1, datetime(2024, 11, 3, 14, 20, 52, 186_000, UTC), b"\x0a", Decimal("3.10"), "O'Keefe", True),
        (2, *[None] * 5),
    ]
    schema = {column.name: polars_type(column.type) for column in columns}
    file = FORMATS["csv"].open(tmp_path / "part", columns)
    file.write(pl.DataFrame(rows, schema=schema, orient="row"))
    file.close()
    assert (tmp_path / "part").read_text().splitlines() == [
        "id,at,raw,price,note,paid",
        "1,2024-11-03 14:20:52.186000+00:00,\\x0a,3.10,O'Keefe,true",
        "2,,,,,",
    ]


async def test_a_manifest_says_what_its_objects_are(on_redshift: Together) -> None:
    """Counts, schema, window and checksums."""
    fill(on_redshift.engine)
    (batch,) = await on_redshift.read(SHOP, "orders")
    kept = read_manifest(on_redshift.engine.store, batch.manifest_key)
    assert kept == batch
    (part,) = kept.files.rows
    content = on_redshift.engine.store.get_bytes(part.key)
    assert (part.sha256, part.size_bytes, part.rows) == (sha256(content).hexdigest(), len(content), 6)
    assert (kept.files.form, kept.counts.read, kept.progress.lower, kept.progress.position is None) == (
        "csv",
        6,
        None,
        False,
    )
    assert content.splitlines()[0].decode().split(",") == [column.name for column in kept.columns] + [ROW_HASH]


async def test_a_changed_object_is_refused(on_redshift: Together, stack: Stack, store: BucketStore) -> None:
    """One digit of one row."""
    fill(on_redshift.engine)
    (batch,) = await on_redshift.read(SHOP, "orders")
    (part,) = batch.files.rows
    content = store.get_bytes(part.key).replace(b"2024-03-01", b"2024-03-02")
    stack.aws.client("s3").put_object(Bucket=store.name, Key=part.key, Body=content)
    with pytest.raises(FatalError, match=r"part-00000\.csv: .* checksum differs.*Remedy") as failure:
        on_redshift.transform(SHOP, [batch])
    assert "2024-03" not in str(failure.value).replace(part.key, "")
    assert list(on_redshift.processed.list_keys("shop/fact_order")) == []


def test_csv_is_one_object_however_large(store: BucketStore) -> None:
    frame, columns = column_of(TEXT, ["x" * MEGABYTE] * 10)
    assert FORMATS["parquet"].part_bytes < 70 * MEGABYTE
    with PartWriter(store, "large", form=FORMATS["csv"]) as writer:
        for _ in range(8):
            writer.write(frame, columns)
        writer.close()
    assert list(store.list_keys("")) == ["large/part-00000.csv"]
    assert [part.rows for part in writer.parts] == [80]


@pytest.mark.parametrize("form", BOTH)
async def test_every_table_of_a_run_is_one_object_beside_its_manifest(
    on_redshift: Together, form: LandingFormat
) -> None:
    fill(on_redshift.engine)
    pipeline = replace(SHOP, landing=form)
    await on_redshift.read(pipeline)
    keys = [key.rpartition("/")[2] for key in on_redshift.engine.store.list_keys("")]
    assert sorted(keys) == sorted([MANIFEST_NAME, f"part-00000.{form}"] * 2)


def test_keys_of_a_stream_sort_by_time() -> None:
    """Across midnights, months and years. That a store lists them all, past 1,000: tests/blocks/test_store.py."""
    moments = [datetime(2023, 12, 28, 0, 0, 0, 1, UTC) + timedelta(minutes=19 * number) for number in range(5_000)]
    keys = [batch_prefix("shop", "orders", at, new_batch_id(at)) for at in moments]
    assert sorted(keys) == keys


async def test_csv_and_parquet_make_the_same_warehouse(together: Together) -> None:
    """Of a table of traps."""
    together.engine.source(TRAPS)
    tables = []
    for form in BOTH:
        stream = replace(ORDERS, name=form, source="postgres:public.traps")
        # Both streams have one source, and are not declared beside each other.
        await together.run(Pipeline("traps", [stream], landing=form), read_request=ReadRequest("full"))
        columns = 'order_id, body, raw, doc, at, price, factor::TEXT, born, changed, "_row_hash"'
        tables.append(together.engine.query(f"SELECT {columns} FROM traps.{form} ORDER BY 1"))
    assert tables[0] == tables[1]
    assert len(tables[0]) == 4
