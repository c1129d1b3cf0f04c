"""Numbers of messages: each arrives as it was written, or its message is rejected."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace import Merge, Queue, Stream
from millrace.base.naming import MESSAGE_ADDRESS
from millrace.base.types import DOCUMENT, FLOAT32, FLOAT64, INT16, INT64, TEXT, TIMESTAMP_UTC, Column, DataType, decimal
from millrace.contract.limits import reject_beyond_limits
from millrace.queues.decoding import MessageDecoder
from millrace.sources.chunk import Chunk
from millrace.sources.json_numbers import FloatInFull, loads
from millrace.warehouse.dialect import REDSHIFT_DIALECT
from tests.support.engine import Engine
from tests.support.queue_messages import collect

MISMATCH, UNFIT = "type_mismatch", "number_does_not_fit"

JSON_AND_NOT = [
    "1e400", "-0", "-0.0", "1E5", "01", "1.", ".5", "+1", "NaN", "-Infinity", "1_000", "-", "0x10", "１", "1e", "1e+",
    "12345678901234567.", "012345678901234567", "1234567890123456789 1", '"\\ud800"', '"\ud800"', '"\\uDE00\\uD83D"',
    '{"a":1,"a":2}', '{"a":"\\"1234567890123456789.5","b":1}', "[1,]", "", "\ufeff1", "1\x00", '"a\tb"', "1\u00a0",
]  # fmt: skip


def accepted(body: str, parse: Any) -> bool:
    try:
        parse(body)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("body", JSON_AND_NOT)
@pytest.mark.parametrize("beside", ["", "[12345678901234567.5,", "[1e-320,"])
def test_what_is_json_does_not_depend_on_the_numbers_in_it(body: str, beside: str) -> None:
    """Only a number beyond every float is JSON here and none for orjson."""
    plain = body.replace("1e400", "1")
    assert accepted(beside + body + "]" * bool(beside), loads) == accepted(
        beside + plain + "]" * bool(beside), orjson.loads
    )


def test_a_message_of_very_many_levels_is_rejected_or_read() -> None:
    number, is_read = "12345678901234567.5", {}
    for levels in (200, 990, 1_100, 100_000):
        body = "[" * levels + number + "]" * levels
        is_read[levels] = accepted(body, loads)
        assert is_read[levels] <= accepted(body.replace(number, "1"), orjson.loads)
    assert is_read[200]
    assert not is_read[100_000]


NUMBERS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][-+]?[0-9]{1,3})?\Z")


@given(NUMBERS)
def test_a_number_is_what_was_written(text: str) -> None:
    number = loads(f'{{"n": {text}}}')["n"]
    assert Decimal(repr(number) if isinstance(number, float) else number) == Decimal(text)
    assert not isinstance(number, int) or -(2**63) <= number < 2**64


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_a_float_however_many_digits_it_is_written_with(number: float) -> None:
    for text in (repr(number), f"{number:.17g}", f"{Decimal(number):f}"):
        read = loads(f"[{text}]")[0]
        assert isinstance(read, float | int | FloatInFull)
        assert float(read) == number


CASES: list[tuple[DataType, str, Any]] = [
    (decimal(20, 4), "12345678901234.5678", Decimal("12345678901234.5678")),
    (decimal(20, 4), "1234567890123456.7891", Decimal("1234567890123456.7891")),
    (decimal(20, 4), "1.10", Decimal("1.1")),
    (decimal(20, 4), "1.10000000000000000000000000", Decimal("1.1")),
    (decimal(20, 4), "-0.0", Decimal(0)),
    (decimal(20, 4), "1E5", Decimal(100_000)),
    (decimal(20, 4), "1.00000000000000000000000000000000000000000000000000000000000000000001", UNFIT),
    (decimal(20, 4), "1e999999999", UNFIT),
    (decimal(20, 4), "1e-999999999", UNFIT),
    (decimal(20, 4), "1e99999999999999999999999", UNFIT),
    (decimal(20, 4), "1" * 5_000, UNFIT),
    (decimal(20, 4), '"' + "1" * 5_000 + '"', UNFIT),
    (decimal(30, 0), "12345678901234567890123456789", Decimal("12345678901234567890123456789")),
    (decimal(20, 0), "18446744073709551616", Decimal("18446744073709551616")),
    (decimal(38, 20), "0.10000000000000001", Decimal("0.10000000000000001")),
    (INT64, "9007199254740993.0", 9007199254740993),
    (INT64, "9.007199254740993e15", 9007199254740993),
    (INT64, "-9223372036854775808", -(2**63)),
    (INT64, "-9223372036854775809", UNFIT),
    (INT64, "9223372036854775808", UNFIT),
    (INT64, "18446744073709551616", UNFIT),
    (INT64, "12345678901234567.5", MISMATCH),
    (INT64, "1E5", 100_000),
    (INT64, "1e400", UNFIT),
    (INT64, '"' + "1" * 5_000 + '"', UNFIT),
    (INT16, "100000000000000000000", UNFIT),
    (FLOAT64, "0.1", 0.1),
    (FLOAT64, "0.10000000000000001", 0.1),
    (FLOAT64, "0.1000000000000000055511151231257827021181583404541015625", 0.1),
    (FLOAT64, "0.30000000000000004", 0.1 + 0.2),
    (FLOAT64, "100000000000000000000000", 1e23),
    (FLOAT64, "5e-324", 5e-324),
    (FLOAT64, "12345678901234.5678", UNFIT),
    (FLOAT64, "9007199254740993.0", UNFIT),
    (FLOAT64, "1e400", UNFIT),
    (FLOAT64, "1e-400", UNFIT),
    (FLOAT32, "0.5000000000000000000000", 0.5),
    (FLOAT32, "0.10000000000000001", UNFIT),
    (TEXT, "12345678901234.5678", MISMATCH),
    (DOCUMENT, "12345678901234.5678", "12345678901234.5678"),
    (DOCUMENT, "[0.10000000000000001,1.10,1E5,1]", "[0.10000000000000001,1.1,100000.0,1]"),
    (DOCUMENT, '{"b":18446744073709551616,"a":-1.5e-320}', '{"a":-1.5e-320,"b":18446744073709551616}'),
    (DOCUMENT, '{"a":[{"b":12345678901234567890123456789.5}]}', '{"a":[{"b":12345678901234567890123456789.5}]}'),
    (DOCUMENT, "[1e400]", UNFIT),
    (DOCUMENT, "[1e99999999999999999999999]", UNFIT),
    (DOCUMENT, f"[{'1' * 40}]", UNFIT),
]


@pytest.mark.parametrize(("data_type", "number", "expected"), CASES, ids=lambda one: str(one)[:30])
def test_a_number_arrives_exactly_in_its_column_or_is_rejected(data_type: DataType, number: str, expected: Any) -> None:
    chunk = decode(f'{{"id":"a","n":{number}}}', types={"n": data_type})
    if expected in {UNFIT, MISMATCH}:
        assert chunk.rejected.select("reason", "field").rows() == [(expected, "n")]
    else:
        assert chunk.rejected.is_empty()
        assert chunk.frame["n"].to_list() == [expected]


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        (["1", "2"], INT64),
        (["0.5", "0.10000000000000001"], FLOAT64),
        (["0.10000000000000001"], FLOAT64),
        (["12345678901234.5678", "12345678901234.5679", "1.5"], decimal(38, 9)),
    ],
)
def test_an_undeclared_column_holds_what_most_of_its_numbers_are(numbers: list[str], kind: DataType) -> None:
    chunk = decode(*(f'{{"id":"{index}","n":{number}}}' for index, number in enumerate(numbers)))
    assert {column.name: column.type for column in chunk.columns}["n"] == kind
    assert chunk.rejected.is_empty()


def decode(*bodies: str, **options: Any) -> Chunk:
    stream = Stream("orders", "sqs/orders", "id", Queue(), load=Merge(), **options)
    messages = pl.DataFrame({MESSAGE_ADDRESS: [str(place) for place in range(len(bodies))], "body": bodies})
    return MessageDecoder(stream, ()).decode(messages)


def test_a_long_document_with_a_number_beyond_every_float_is_measured_like_others() -> None:
    long = "x" * 70_000
    frame = pl.DataFrame({"id": [1, 2], "d": [f'[1e400,"{long}"]', f"[{'1' * 5_000},{'1' * 66_000}]"]})
    columns = (Column("id", "id", INT64), Column("d", "d", DOCUMENT))
    accepted, rejected = reject_beyond_limits(frame, columns, ["id"], REDSHIFT_DIALECT.limits)
    assert accepted.is_empty()
    assert rejected["reason"].to_list() == ["too_long", "number_does_not_fit"]


async def test_numbers_of_a_message_arrive_exactly_in_either_warehouse(either: Engine) -> None:
    stream = Stream(
        "orders",
        "sqs/orders",
        "id",
        Queue(stamp="at"),
        load=Merge(),
        types={"at": TIMESTAMP_UTC, "amount": decimal(20, 4), "big": decimal(30, 0), "items": DOCUMENT},
    )
    numbers = '"amount":12345678901234.5678,"big":12345678901234567890123456789,"items":[12345678901234.5678]'
    bodies = [f'{{"id":"{key}","at":"{at}",{numbers}}}' for key, at in (("a", "2026-01-05T10:00:00Z"), ("b", "never"))]
    collect(either, *bodies)
    result = await either.run(stream)
    assert result is not None
    assert (result.inserted, result.rejected) == (1, 1)
    held = Decimal("12345678901234.5678"), Decimal("12345678901234567890123456789")
    assert either.rows("orders", "amount", "big") == [held]
    [(items,)] = either.query("SELECT CAST(items AS VARCHAR) FROM engine.orders")
    assert json.loads(items, parse_float=Decimal) == [held[0]]
