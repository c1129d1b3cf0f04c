"""The transform: batches of the landing zone as they are and as the models make of them, in chunks as in one piece."""

from __future__ import annotations

import io
import secrets
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from local.stack import Stack
from millrace import Model, Pipeline, Stream
from millrace.base.errors import ConfigurationError, FatalError
from millrace.base.naming import ROW_HASH
from millrace.base.types import INT32, INT64, TEXT, Column
from millrace.blocks.store import BucketStore
from millrace.lake import formats
from millrace.lake.batch import Batch, BatchKind
from millrace.lake.manifest import read_manifest
from millrace.models.transform import transform
from millrace.runs.destination import BatchDestination
from millrace.runs.extract import Extraction, Purpose
from millrace.sources.chunk import Chunk, ReadFacts
from millrace.warehouse.dialect import REDSHIFT_DIALECT
from tests.support.changed_batches import change_batch
from tests.support.engine import bucket_store
from tests.support.shop import DAYS, DESIGN, DIM_DESIGN, FACT_ORDER, ORDERS, SHOP, DimDesign, FactOrder

READ_AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
DESIGN_COLUMNS = (Column("design_id", "design_id", INT32), Column("name", "name", TEXT))
ORDER_COLUMNS = (
    Column("order_id", "order_id", INT64),
    Column("design_id", "design_id", INT32),
    Column("units", "units", INT32),
    Column("ordered", "ordered", TEXT),
)
SECRET = "Mrs Miggins"


@pytest.fixture(scope="module")
def store(stack: Stack) -> BucketStore:
    """The landing zone of all tests here, whose batches have names of their own."""
    return bucket_store(stack, stack.aws.create_bucket(f"landing-{secrets.token_hex(4)}"))


@pytest.fixture(scope="module")
def processed(stack: Stack) -> BucketStore:
    """The processed zone of all tests here."""
    return bucket_store(stack, stack.aws.create_bucket(f"processed-{secrets.token_hex(4)}"))


@pytest.fixture
def land(store: BucketStore) -> Callable[..., Batch]:
    """``land(stream, columns, rows)``: a batch of those rows in the landing zone."""

    def put(
        stream: Stream,
        columns: Sequence[Column],
        rows: Sequence[tuple[Any, ...]],
        kind: BatchKind | None = None,
        deletes: Sequence[tuple[Any, ...]] = (),
    ) -> Batch:
        landing = BatchDestination("shop", store, REDSHIFT_DIALECT.limits, form="csv")
        read = ReadFacts(READ_AT, READ_AT.isoformat(), has_all_columns=True)
        own = kind or ("snapshot" if stream.is_snapshot else "window")
        with Extraction(landing, stream, read, Purpose(own)) as extraction:
            schema = {"order_id": pl.Int64, "design_id": pl.Int32, "name": pl.String, "units": pl.Int32}
            named = {one.name: schema.get(one.name, pl.String) for one in columns}
            extraction.add(Chunk(pl.DataFrame(list(rows), schema=named, orient="row"), tuple(columns)))
            extraction.remove([one for one in columns if one.name in stream.keys], deletes)
            batch = extraction.finish()
        assert batch is not None
        return batch

    return put


@pytest.fixture
def designs(land: Callable[..., Batch]) -> Batch:
    """Two designs, read whole."""
    return land(DESIGN, DESIGN_COLUMNS, [(1, "tulip"), (2, "rose")])


@pytest.fixture
def orders(land: Callable[..., Batch]) -> Batch:
    """Fifty changed orders, on seven days."""
    rows = [(number, 1 + number % 2, number * 10, f"2024-03-0{1 + number % 7}") for number in range(1, 51)]
    return land(ORDERS, ORDER_COLUMNS, rows)


def by_name(batches: Sequence[Batch]) -> dict[str, Batch]:
    return {batch.stream: batch for batch in batches}


def rows(processed: BucketStore, batch: Batch) -> pl.DataFrame:
    """What lies in the processed zone, by key."""
    frames = [pl.read_parquet(io.BytesIO(processed.get_bytes(part.key))) for part in batch.files.rows]
    return pl.concat(frames).sort(pl.nth(0))


def pipeline(*models: Model) -> Pipeline:
    return replace(SHOP, models=models)


def test_streams_are_copied_and_models_computed(
    designs: Batch, orders: Batch, store: BucketStore, processed: BucketStore
) -> None:
    made = by_name(transform(SHOP, [designs, orders], store, processed))
    assert {name: (batch.kind, batch.counts.read, batch.written) for name, batch in made.items()} == {
        "design": ("snapshot", 2, 2),
        "orders": ("window", 50, 50),
        "dim_design": ("model", 2, 2),
        "fact_order": ("model", 50, 50),
        "days": ("model", 7, 7),
    }
    assert rows(processed, made["dim_design"]).drop(ROW_HASH).rows() == [(1, "TULIP"), (2, "ROSE")]
    assert rows(processed, made["fact_order"]).drop(ROW_HASH).row(0) == (1, 2, 10, date(2024, 3, 2))
    assert (made["orders"].batch_id, made["orders"].progress.position) == (orders.batch_id, orders.progress.position)
    assert (made["orders"].progress.origin, made["fact_order"].progress.origin) == (orders.manifest_key, "")
    assert made["dim_design"].files.longest_bytes == {"title": 5}
    assert {batch.files.form for batch in made.values()} == {"parquet"}
    assert all(read_manifest(processed, batch.manifest_key) == batch for batch in made.values())


@pytest.mark.parametrize("chunk_rows", [1, 7, 49])
def test_many_chunks_give_what_one_gives(
    designs: Batch,
    orders: Batch,
    store: BucketStore,
    processed: BucketStore,
    monkeypatch: pytest.MonkeyPatch,
    chunk_rows: int,
) -> None:
    """Also a day that several chunks give, once."""
    whole = by_name(transform(SHOP, [designs, orders], store, processed))
    monkeypatch.setattr(formats, "CHUNK_ROWS", chunk_rows)
    chunked = by_name(transform(SHOP, [designs, orders], store, processed))
    assert list(whole) == list(chunked)
    for name, batch in whole.items():
        assert rows(processed, chunked[name]).equals(rows(processed, batch)), name


def test_the_function_is_given_a_chunk_at_a_time_and_snapshots_whole(
    designs: Batch, orders: Batch, store: BucketStore, processed: BucketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once more in parts, by which it is found out whether it may be given parts."""
    given: list[tuple[int, int]] = []

    def named_order(orders: pl.DataFrame, design: pl.DataFrame) -> pl.DataFrame:
        given.append((orders.height, design.height))
        assert [*orders.columns, *design.columns] == [one.name for one in (*ORDER_COLUMNS, *DESIGN_COLUMNS)]
        joined = orders.join(design, on="design_id")
        return joined.select("design_id", "order_id", title="name")

    class NamedOrder(DimDesign):
        order_id = dy.Int64(nullable=False)

    monkeypatch.setattr(formats, "CHUNK_ROWS", 20)
    model = Model(named_order, NamedOrder, "order_id")
    made = by_name(transform(pipeline(model), [designs, orders], store, processed))
    wholes = sorted({height for height, _ in given}, reverse=True)
    assert (max(wholes), {height for _, height in given}) == (20, {2})
    assert sum(height for height, _ in given) == 3 * 50, "each chunk, and of so small ones all rows in parts and whole"
    assert rows(processed, made["named_order"])["title"].value_counts().sort("title").rows() == [
        ("rose", 25),
        ("tulip", 25),
    ]


def test_deletes_reach_models_with_the_same_key_and_no_others(
    land: Callable[..., Batch], designs: Batch, store: BucketStore, processed: BucketStore
) -> None:
    swept = land(ORDERS, ORDER_COLUMNS, [(5, 1, 1, "2024-03-01")], "sweep", [(7,), (8,)])
    made = by_name(transform(SHOP, [designs, swept], store, processed))
    deleted = pl.read_parquet(io.BytesIO(processed.get_bytes(made["fact_order"].files.deletes[0].key)))
    assert (deleted.columns, deleted["order_id"].to_list()) == (["order_id"], [7, 8])
    assert {name: batch.deleted for name, batch in made.items() if batch.deleted} == {"orders": 2, "fact_order": 2}
    assert (made["fact_order"].counts.read, made["fact_order"].written) == (3, 1)


def test_a_snapshot_that_was_not_read_leaves_out_its_models(
    orders: Batch, store: BucketStore, processed: BucketStore
) -> None:
    """And those that are computed from them."""

    def labels(dim_design: pl.DataFrame) -> pl.DataFrame:
        return dim_design

    models = (DIM_DESIGN, Model(labels, DimDesign, "design_id"), FACT_ORDER, DAYS)
    made = transform(pipeline(*models), [orders], store, processed)
    assert [batch.stream for batch in made] == ["orders", "fact_order", "days"]


def test_changes_are_not_used_up_without_the_snapshot_that_their_model_needs(
    designs: Batch, orders: Batch, store: BucketStore, processed: BucketStore
) -> None:
    """Left out, the model would never see them: the next run reads other changes. Also over another model."""

    def named_order(orders: pl.DataFrame, design: pl.DataFrame) -> pl.DataFrame:
        return FACT_ORDER.function(orders.join(design, on="design_id"))

    def named_fact(fact_order: pl.DataFrame, design: pl.DataFrame) -> pl.DataFrame:
        return fact_order.join(design, on="design_id").select(fact_order.columns)

    def titled(fact_order: pl.DataFrame, dim_design: pl.DataFrame) -> pl.DataFrame:
        return fact_order.join(dim_design, on="design_id").select(fact_order.columns)

    named, over_it, over_both = (Model(one, FactOrder, "order_id") for one in (named_order, named_fact, titled))
    fact = replace(FACT_ORDER, references={})
    for models in ((named,), (fact, over_it), (DIM_DESIGN, fact, over_both)):
        because = rf"^model shop\.{models[-1].name}: .* changes of orders, and design was not read.*Remedy: run both"
        with pytest.raises(ConfigurationError, match=because):
            transform(pipeline(*models), [orders], store, processed)
        made = by_name(transform(pipeline(*models), [designs, orders], store, processed))
        assert made[models[-1].name].written == 50
        assert models[-1].name not in by_name(transform(pipeline(*models), [designs], store, processed))


def test_a_function_is_not_called_with_nothing(
    land: Callable[..., Batch], store: BucketStore, processed: BucketStore
) -> None:
    """Rows whose keys were found gone after they were read are none."""

    def first(orders: pl.DataFrame) -> pl.DataFrame:
        return orders.with_columns(units=pl.lit(orders.item(0, "units"), dtype=pl.Int32)).select("order_id", "units")

    class First(dy.Schema):
        order_id = dy.Int64(nullable=False)
        units = dy.Int32(nullable=True)

    swept = land(ORDERS, ORDER_COLUMNS, [(7, 1, 1, "2024-03-01")], "sweep", [(7,)])
    made = by_name(transform(pipeline(Model(first, First, "order_id")), [swept], store, processed))
    assert (made["first"].written, made["first"].deleted) == (0, 1)


def test_changes_that_were_not_there_leave_out_their_models(
    designs: Batch, store: BucketStore, processed: BucketStore
) -> None:
    assert [batch.stream for batch in transform(SHOP, [designs], store, processed)] == ["design", "dim_design"]


def test_what_a_model_takes_from_complete_snapshots_is_complete(
    land: Callable[..., Batch], designs: Batch, store: BucketStore, processed: BucketStore
) -> None:
    """What it lacks is gone, also over another model; not so where anything was rejected or is only a change."""

    def labels(dim_design: pl.DataFrame) -> pl.DataFrame:
        return dim_design

    own = pipeline(DIM_DESIGN, Model(labels, DimDesign, "design_id"), FACT_ORDER)
    orders = land(ORDERS, ORDER_COLUMNS, [(5, 1, 1, "2024-03-01")])
    complete = {
        batch.stream: batch.coverage.absent_means_deleted
        for batch in transform(own, [designs, orders], store, processed)
    }
    assert complete == {"design": True, "orders": False, "dim_design": True, "labels": True, "fact_order": False}
    damaged = change_batch(designs, absent_means_deleted=False)
    assert not any(batch.coverage.absent_means_deleted for batch in transform(own, [damaged, orders], store, processed))


def test_an_emptied_snapshot_is_a_complete_batch_of_its_models(
    land: Callable[..., Batch], store: BucketStore, processed: BucketStore
) -> None:
    made = by_name(transform(SHOP, [land(DESIGN, DESIGN_COLUMNS, [])], store, processed))
    assert {name: (batch.written, batch.coverage.absent_means_deleted) for name, batch in made.items()} == {
        "design": (0, True),
        "dim_design": (0, True),
    }


def test_a_batch_of_the_same_inputs_has_the_same_id_and_other_objects(
    designs: Batch, orders: Batch, land: Callable[..., Batch], store: BucketStore, processed: BucketStore
) -> None:
    first, second = (by_name(transform(SHOP, [designs, orders], store, processed)) for _ in range(2))
    other = by_name(
        transform(SHOP, [designs, land(ORDERS, ORDER_COLUMNS, [(1, 1, 1, "2024-03-01")])], store, processed)
    )
    for name, batch in first.items():
        assert second[name].batch_id == batch.batch_id
        assert second[name].manifest_key != batch.manifest_key
        assert (other[name].batch_id == batch.batch_id) is (name in {"design", "dim_design"}), name
    assert len({batch.batch_id for batch in first.values()}) == len(first)


def test_a_column_that_only_some_files_have_is_null_in_the_others(
    land: Callable[..., Batch], store: BucketStore, processed: BucketStore
) -> None:
    with_units, without = (
        land(ORDERS, columns, [row[: len(columns)]])
        for columns, row in (
            ((ORDER_COLUMNS[0], ORDER_COLUMNS[3], *ORDER_COLUMNS[1:3]), (1, "2024-03-01", 1, 10)),
            ((ORDER_COLUMNS[0], ORDER_COLUMNS[3]), (2, "2024-03-02")),
        )
    )
    both = change_batch(with_units, rows=(*with_units.files.rows, *without.files.rows), read=2)
    made = by_name(transform(SHOP, [both], store, processed))
    assert rows(processed, made["fact_order"])["units"].to_list() == [10, None]


def test_times_and_wide_numbers_are_kept_as_the_lake_has_them(
    orders: Batch, store: BucketStore, processed: BucketStore
) -> None:
    class Moments(dy.Schema):
        order_id = dy.Int64(nullable=False)
        at = dy.Time(nullable=False)
        large = dy.UInt64(nullable=False)
        kind = dy.Enum(["small", "big"])

    def moments(orders: pl.DataFrame) -> pl.DataFrame:
        kind = pl.Series(["big"], dtype=pl.Enum(["small", "big"])).first()
        return orders.filter(pl.col("order_id") == 1).select(
            "order_id",
            at=pl.lit(time(23, 59, 59, 1)),
            large=pl.lit(2**64 - 1, dtype=pl.UInt64),
            kind=pl.lit(kind, dtype=pl.Enum(["small", "big"])),
        )

    made = by_name(transform(pipeline(Model(moments, Moments, "order_id")), [orders], store, processed))
    (row,) = rows(processed, made["moments"]).select("at", "large", "kind").rows()
    assert (row[0], int(row[1]), row[2]) == ("23:59:59.000001", 2**64 - 1, "big")


def of_a_missing_column(orders: pl.DataFrame) -> pl.DataFrame:
    return orders.select("nothing")


def of_a_bad_value(orders: pl.DataFrame) -> pl.DataFrame:
    return orders.select(pl.lit(SECRET).str.to_date("%Y"))


def of_its_own_error(orders: pl.DataFrame) -> pl.DataFrame:
    raise ValueError(f"{orders.height} orders of {SECRET}")


def of_nothing(orders: pl.DataFrame) -> None:
    del orders


def of_a_plan(orders: pl.DataFrame) -> pl.LazyFrame:
    return orders.lazy()


def of_other_columns(orders: pl.DataFrame) -> pl.DataFrame:
    return orders.select("order_id", "design_id", "units", days=pl.lit(SECRET))


def of_other_types(orders: pl.DataFrame) -> pl.DataFrame:
    return orders.select("order_id", "design_id", "units", day=pl.lit(SECRET))


@pytest.mark.parametrize(
    ("function", "because"),
    [
        (of_a_missing_column, r"it raised ColumnNotFoundError at test_transform\.py:\d+"),
        (of_a_bad_value, r"it raised InvalidOperationError at test_transform\.py:\d+"),
        (of_its_own_error, r"it raised ValueError at test_transform\.py:\d+"),
        (of_nothing, "it gives a NoneType"),
        (of_a_plan, "it gives a LazyFrame"),
        (of_other_columns, r"it gives other columns than its schema: 1 missing columns .*'day'"),
        (of_other_types, r"it gives other columns than its schema: .*'day', got: String, expected: date"),
    ],
)
def test_a_function_that_fails_tells_where_and_never_a_value(
    function: Callable[..., Any],
    because: str,
    designs: Batch,
    orders: Batch,
    store: BucketStore,
    processed: BucketStore,
) -> None:
    own = pipeline(DIM_DESIGN, Model(function, FactOrder, "order_id"))
    before = list(processed.list_keys(""))
    with pytest.raises(FatalError, match=rf"^model shop\.{function.__name__}: {because}") as failure:
        transform(own, [designs, orders], store, processed)
    assert failure.value.remedy
    told = "".join(traceback.format_exception(failure.value))
    assert SECRET not in told
    assert "RESOLVING" not in told
    assert list(processed.list_keys("")) == before, "there is nothing to load"
