"""Contracts and limits: which rows pass, which are rejected and why, and what no row could meet."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from pymongo import MongoClient

from millrace import Incremental, Stream
from millrace.base.errors import ConfigurationError, KeyViolation, SchemaConflict
from millrace.base.rejects import REJECT_SCHEMA, no_rejects
from millrace.base.types import BINARY, DOCUMENT, INT64, TEXT, Column, DataType
from millrace.contract.limits import Limits, reject_beyond_limits
from millrace.contract.rules import reject_by_contract
from millrace.lake.lengths import measure_longest_bytes
from tests.support.engine import Engine

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
LIMITS = Limits(text_bytes=6, binary_bytes=3, document_bytes=10, document_text_bytes=10)


class Order(dy.Schema):
    id = dy.Int64(nullable=False)
    amount = dy.Decimal(12, 2, nullable=True, min=0)
    currency = dy.String(nullable=False, regex="^[A-Z]{3}$")

    @dy.rule()
    def free_orders_are_in_euro(cls) -> pl.Expr:
        return (pl.col("amount") > 0) | (pl.col("currency") == "EUR")


def orders(*rows: tuple[Any, Any, Any], **further: Any) -> pl.DataFrame:
    schema = {"id": pl.Int64(), "amount": pl.Decimal(12, 2), "currency": pl.String()}
    exact = [(number, None if amount is None else Decimal(amount), currency) for number, amount, currency in rows]
    return pl.DataFrame(exact, schema=schema, orient="row").with_columns(**further)


def stream(source: str = "postgres:shop.orders", contract: type[dy.Schema] = Order) -> Stream:
    return Stream("orders", source, "id", Incremental("updated_at"), contract=contract)


def check(frame: pl.DataFrame, keys: tuple[str, ...] = ("id",)) -> tuple[pl.DataFrame, pl.DataFrame]:
    return reject_by_contract(frame, Order, stream(), keys)


def verdicts(rejected: pl.DataFrame) -> list[tuple[Any, ...]]:
    return [(row["reason"], row["field"], json.loads(row["coordinates"])) for row in rejected.iter_rows(named=True)]


def test_rows_that_meet_the_contract_pass_untouched() -> None:
    frame = orders((1, "1.50", "EUR"), (2, None, "USD"), (3, "0", "EUR"))
    accepted, rejected = check(frame)
    assert accepted.equals(frame)
    assert rejected.schema == dict(REJECT_SCHEMA)
    assert rejected.height == 0


def test_the_others_are_rejected_with_the_rule_they_break() -> None:
    frame = orders(
        (1, "-1", "EUR"), (2, "1", "euro"), (3, "1", None), (4, "0", "USD"), (None, "1", "EUR"), (6, "1", "EUR")
    )
    accepted, rejected = check(frame)
    assert accepted["id"].to_list() == [6]
    assert verdicts(rejected) == [
        ("contract_min", "amount", {"id": 1}),
        ("contract_regex", "currency", {"id": 2}),
        ("contract_nullability", "currency", {"id": 3}),
        ("contract_free_orders_are_in_euro", "", {"id": 4}),
        ("contract_nullability", "id", {}),
    ]


def test_a_rule_of_one_column_explains_before_a_rule_of_several() -> None:
    assert verdicts(check(orders((1, "-1", "USD")))[1]) == [("contract_min", "amount", {"id": 1})]


def test_order_and_columns_outside_the_contract_are_kept() -> None:
    frame = orders(*((number, "1" if number % 3 else "-1", "EUR") for number in range(9))).select(
        pl.lit("x").alias("before"), "currency", "id", "amount", (pl.col("id") * 2).alias("after")
    )
    accepted, rejected = check(frame)
    assert accepted.columns == ["before", "currency", "id", "amount", "after"]
    assert accepted["id"].to_list() == [1, 2, 4, 5, 7, 8]
    assert accepted["after"].to_list() == [2, 4, 8, 10, 14, 16]
    assert [json.loads(row)["after"] for row in rejected["row"]] == [0, 6, 12]


def test_a_reject_keeps_the_whole_row_and_a_key_of_several_columns() -> None:
    frame = orders((1, "-1", "EUR"), photo=pl.lit(b"\x00\xff"))
    _, rejected = check(frame, keys=("currency", "id"))
    assert json.loads(rejected["coordinates"][0]) == {"currency": "EUR", "id": 1}
    assert json.loads(rejected["row"][0]) == {"id": 1, "amount": "-1.00", "currency": "EUR", "photo": "\\x00ff"}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            orders((1, "1", "EUR")).drop("currency"),
            r"column currency: the contract names it, and the source has no such column",
        ),
        (
            orders((1, "1", "EUR")).with_columns(pl.col("id").cast(pl.String)),
            r"column id: the contract wants Int64, the source gives String",
        ),
        (
            orders((1, "1", "EUR")).with_columns(pl.col("amount").cast(pl.Decimal(14, 4))),
            r"column amount: the contract wants Decimal.*12.*2.*, the source gives Decimal.*14.*4",
        ),
    ],
)
def test_a_shape_that_no_row_could_meet_is_a_conflict(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(SchemaConflict, match=rf"stream orders \(postgres:shop.orders\), {message}.*Remedy"):
        check(frame)


def test_a_field_that_no_document_holds_is_null() -> None:
    documents = orders((1, "1", "EUR"), (2, "2", "EUR"))
    mongo = stream("mongo:shop.orders")
    accepted, rejected = reject_by_contract(documents.drop("amount"), Order, mongo, ("id",))
    assert (accepted.columns, accepted.height, rejected.height) == (["id", "currency"], 2, 0)
    accepted, rejected = reject_by_contract(documents.drop("currency"), Order, mongo, ("id",))
    assert accepted.height == 0
    assert {(reason, field) for reason, field, _ in verdicts(rejected)} == {("contract_nullability", "currency")}


def test_an_empty_frame_meets_every_contract() -> None:
    accepted, rejected = check(orders())
    assert (accepted.height, rejected.height) == (0, 0)


def columns(**types: DataType) -> list[Column]:
    return [Column(name, f"path.{name}", data_type) for name, data_type in types.items()]


ALL = columns(id=INT64, text=TEXT, binary=BINARY, document=DOCUMENT)


def values(text: str | None = None, binary: bytes | None = None, document: str | None = None) -> pl.DataFrame:
    schema = {"id": pl.Int64(), "text": pl.String(), "binary": pl.Binary(), "document": pl.String()}
    return pl.DataFrame([(1, text, binary, document)], schema=schema, orient="row")


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (values(text="123456"), None),
        (values(text="1234567"), "path.text"),
        (values(text="ééé"), None),
        (values(text="éééé"), "path.text"),
        (values(text="€€"), None),
        (values(text="€€€"), "path.text"),
        (values(text="😀a"), None),
        (values(text="😀😀"), "path.text"),
        (values(text=""), None),
        (values(binary=b"\x00\x00\x00"), None),
        (values(binary=b"\x00\x00\x00\x00"), "path.binary"),
        (values(document='{"a":1234}'), None),
        (values(document='{"a":12345}'), "path.document"),
        (values(document='"€€€"'), "path.document"),
        (values(), None),
    ],
)
def test_limits_count_bytes(frame: pl.DataFrame, field: str | None) -> None:
    accepted, rejected = reject_beyond_limits(frame, ALL, ["id"], LIMITS)
    assert verdicts(rejected) == ([("too_long", field, {"id": 1})] if field else [])
    assert accepted.height + rejected.height == 1


def test_only_the_rows_that_are_too_long_are_rejected_and_order_is_kept() -> None:
    frame = pl.DataFrame({"id": range(6), "text": ["a", "x" * 7, "b", None, "€€€", "c"]})
    accepted, rejected = reject_beyond_limits(frame, columns(id=INT64, text=TEXT), ["id"], LIMITS)
    assert accepted["id"].to_list() == [0, 2, 3, 5]
    assert [one[2] for one in verdicts(rejected)] == [{"id": 1}, {"id": 4}]


def test_the_longest_value_of_each_column_is_measured_in_bytes() -> None:
    frame = pl.concat([values("€", b"\x00\x01", '{"é":1}'), values("ab", None, "1"), values()])
    assert measure_longest_bytes(frame, ALL) == {"text": 3, "binary": 2, "document": 8}
    assert measure_longest_bytes(values(), ALL) == {"text": 0, "binary": 0, "document": 0}
    assert measure_longest_bytes(frame.clear(), ALL) == {}
    assert measure_longest_bytes(frame.select("id"), columns(id=INT64)) == {}


def test_rejects_of_every_origin_fit_together() -> None:
    _, contract = check(orders((1, "-1", "EUR")))
    _, limits = reject_beyond_limits(values("1234567"), ALL, ["id"], LIMITS)
    assert pl.concat([no_rejects(), contract, limits]).height == 2


class KeyedLine(dy.Schema):
    """Names its key."""

    id = dy.Int64(primary_key=True)
    line = dy.Int64(primary_key=True)


class Keyed(KeyedLine):
    """With a rule besides."""

    amount = dy.Int64(nullable=True, min=0)


def lines(*rows: tuple[Any, Any, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"id": pl.Int64, "line": pl.Int64, "amount": pl.Int64}, orient="row")


def test_a_key_that_comes_again_in_a_chunk_breaks_no_contract_and_a_missing_one_does() -> None:
    keyed = Stream("lines", "postgres:shop.lines", ("id", "line"), Incremental("updated_at"), contract=Keyed)
    frame = lines((1, 1, 5), (1, 1, 5), (1, 2, 5), (2, None, 5), (2, None, 5), (3, 1, -1), (3, 1, -1), (3, 1, 2))
    accepted, rejected = reject_by_contract(frame, Keyed, keyed, ["id", "line"])
    assert accepted.rows() == [(1, 1, 5), (1, 1, 5), (1, 2, 5), (3, 1, 2)]
    assert [(reason, field) for reason, field, _ in verdicts(rejected)] == [
        ("contract_nullability", "line"),
        ("contract_nullability", "line"),
        ("contract_min", "amount"),
        ("contract_min", "amount"),
    ]
    accepted, rejected = reject_by_contract(frame.head(2), Keyed, keyed, ["id", "line"])
    assert (accepted.height, rejected.height) == (2, 0)


AMOUNT, MARK = pl.col("amount"), pl.col("currency")
OVER_SEVERAL_ROWS = {
    "unique": AMOUNT.is_unique(),
    "first": AMOUNT.is_first_distinct(),
    "at most the mean of all": AMOUNT.mean() >= AMOUNT,
    "one of a currency": pl.len().over("currency") == 1,
    "above the mean of its currency": AMOUNT.mean().over("currency") < AMOUNT,
    "grows": AMOUNT.diff().fill_null(1) > 0,
    "as the one before": MARK.shift(1) == MARK,
    "sum so far": AMOUNT.cum_sum() < 100,
    "among the others": AMOUNT.is_in(pl.col("id").implode()),
    "by rank": AMOUNT.rank() < 3,
    "nobody can tell": AMOUNT.map_batches(lambda amounts: amounts > amounts.mean(), return_dtype=pl.Boolean),
}
OF_ONE_ROW = {
    "two columns": AMOUNT.cast(pl.Int64) > pl.col("id"),
    "greatest of the row": pl.max_horizontal("amount", "id") > 0,
    "choices": MARK.is_in(["EUR", "USD"]),
    "condition": pl.when(MARK == "EUR").then(AMOUNT > 0).otherwise(True),
    "a function of a value": MARK.map_elements(str.isupper, return_dtype=pl.Boolean),
    "a function of values": MARK.map_batches(lambda one: one.is_null(), return_dtype=pl.Boolean, is_elementwise=True),
    "pattern and length": MARK.str.contains("^E") & (MARK.str.len_chars() == 3),
}


def contract_of(rule: pl.Expr) -> type[dy.Schema]:
    class Ruled(dy.Schema):
        id = dy.Int64(nullable=False)
        amount = dy.Decimal(12, 2, nullable=True)
        currency = dy.String(nullable=True)

        @dy.rule()
        def own(cls) -> pl.Expr:
            return rule

    return Ruled


@pytest.mark.parametrize("rule", OVER_SEVERAL_ROWS)
def test_a_rule_over_several_rows_is_refused_where_it_is_declared(rule: str) -> None:
    with pytest.raises(ConfigurationError, match="stream orders: rule 'own' of the contract looks at several rows"):
        stream(contract=contract_of(OVER_SEVERAL_ROWS[rule]))


@pytest.mark.parametrize("rule", OF_ONE_ROW)
def test_a_rule_of_one_row_is_taken(rule: str) -> None:
    assert stream(contract=contract_of(OF_ONE_ROW[rule])).contract


class Unique(dy.Schema):
    id = dy.Int64(nullable=False, unique=True)


class Checked(dy.Schema):
    id = dy.Int64(nullable=False, check={"first": lambda key: key == key.min()})


class Misspelt(dy.Schema):
    id = dy.Int64(nullable=False)

    @dy.rule()
    def positive(cls) -> pl.Expr:
        return pl.col("amuont") > 0


class NoColumn(dy.Schema):
    eMail = dy.String(nullable=True)  # noqa: N815 (as a source spells it)


class NoType(dy.Schema):
    id = dy.Object()


class OtherKey(dy.Schema):
    id = dy.Int64(nullable=False)
    line = dy.Int64(primary_key=True)


@pytest.mark.parametrize(
    ("contract", "problem"),
    [
        (Unique, r"rule 'id\|unique' of the contract looks at several rows"),
        (Checked, r"rule 'id\|check__first' of the contract looks at several rows"),
        (Misspelt, "rule 'positive' of the contract does not fit its columns"),
        (NoColumn, "the contract's column 'eMail' is not a name .* write 'e_mail'"),
        (NoType, "column 'id' of the contract"),
        (OtherKey, "the contract's primary key is line, the stream's key is id"),
    ],
)
def test_a_contract_that_no_row_could_be_checked_by_is_refused(contract: type[dy.Schema], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        stream(contract=contract)


async def test_a_key_that_a_source_repeats_is_told_and_not_rejected(engine: Engine, mongo_database: str) -> None:
    engine.source("CREATE TABLE lines (id bigint, line bigint, changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO lines VALUES (1, 1), (1, 1)")
    table = Stream("lines", "postgres:public.lines", ("id", "line"), Incremental("changed"), contract=KeyedLine)
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        documents = ({"_id": number, "id": 1, "line": 1, "changed": YESTERDAY} for number in (1, 2))
        client[mongo_database]["lines"].insert_many(documents)
    for stream in (table, replace(table, source=f"mongo:{mongo_database}.lines")):
        with pytest.raises(KeyViolation):
            await engine.deliver(stream)
        assert not engine.batches[-1].counts.rejected
