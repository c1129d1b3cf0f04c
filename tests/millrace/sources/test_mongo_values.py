"""The decoder of raw BSON batches: paths, flattening, types that are known, documents that are no BSON."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import bson
import dataframely as dy
import polars as pl
import pytest
from bson import Decimal128, Int64
from bson.binary import Binary
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace import Hash, Incremental, Redact, Stream
from millrace.base.naming import ROW_ID
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
    Column,
    DataType,
    decimal,
)
from millrace.sources.chunk import Chunk
from millrace.sources.mongo_values import OPTIONS, Decoder

NOW = datetime(2024, 5, 6, 7, 8, 9, 123_000, tzinfo=UTC)


def stream(**options: Any) -> Stream:
    return Stream("things", "mongo:finance.things", "_id", Incremental("at"), **options)


def decode(*documents: dict[str, Any], known: dict[str, DataType] | None = None, **options: Any) -> Chunk:
    columns = [Column(name, name, data_type) for name, data_type in (known or {}).items()]
    return Decoder(stream(**options), columns).decode(raw(*documents))


def raw(*documents: dict[str, Any]) -> bytes:
    return b"".join(bson.encode(document, codec_options=OPTIONS) for document in documents)


def columns(chunk: Chunk) -> dict[str, list[Any]]:
    return {name: values for name, values in chunk.frame.to_dict(as_series=False).items() if name not in {"at", ROW_ID}}


def reasons(chunk: Chunk) -> list[tuple[str, str]]:
    return list(zip(chunk.rejected["reason"], chunk.rejected["field"], strict=True))


def test_embedded_documents_open_up_two_levels() -> None:
    chunk = decode({"a": {"b": {"c": {"d": 1}, "e": 2}}, "f": 3}, {"a": {"b": None}}, {"a": None}, {})
    assert columns(chunk) == {
        "a_b_c": ['{"d":1}', None, None, None],
        "a_b_e": [2, None, None, None],
        "f": [3, None, None, None],
    }
    assert [column.path for column in chunk.columns] == ["at", "a.b.c", "a.b.e", "f"]


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0, {"a": ['{"b":{"c":{"d":1}}}']}),
        (1, {"a_b": ['{"c":{"d":1}}']}),
        (3, {"a_b_c_d": [1]}),
        (9, {"a_b_c_d": [1]}),
    ],
)
def test_the_depth_is_declared(depth: int, expected: dict[str, list[Any]]) -> None:
    assert columns(decode({"a": {"b": {"c": {"d": 1}}}}, flatten_depth=depth)) == expected


def test_a_document_that_is_redacted_as_a_whole_shows_no_names_of_its_fields() -> None:
    """They may be data. A mask of a field within it needs its column."""
    documents = [{"people": {"ada@example.org": {"since": 1}}}, {"people": None}]
    assert list(columns(decode(*documents, mask={"people": Redact()}))) == ["people"]
    nearer = decode({"person": {"iban": "x", "name": "y"}}, mask={"person": Redact(), "person.iban": Hash()})
    assert list(columns(nearer)) == ["person_iban", "person_name"]


def test_null_missing_and_empty_documents_are_null_and_empty_arrays_are_not() -> None:
    chunk = decode({"a": {"b": 1}, "c": [1]}, {"a": None, "c": None}, {}, {"a": {}, "c": []})
    assert columns(chunk) == {"a_b": [1, None, None, None], "c": ["[1]", None, None, "[]"]}


def test_a_field_that_is_sometimes_a_document_keeps_both() -> None:
    chunk = decode({"a": {"b": 1}}, {"a": "text"}, {"a": {"b": 2}})
    assert columns(chunk) == {"a_b": [1, None, 2], "a": [None, "text", None]}


def test_a_dot_in_a_name_is_no_step_into_a_document() -> None:
    chunk = decode({"a.b": 1, "a": {"b": 2}, "c": {"d.e": 3}, "c.d": {"e": 4}, "f\\.g": 5})
    found = {column.path: chunk.frame[column.name].to_list() for column in chunk.columns}
    assert found == {"at": [None], "a\\.b": [1], "a.b": [2], "c.d\\.e": [3], "c\\.d.e": [4], "f\\\\\\.g": [5]}
    assert len(chunk.frame.columns) == len([*found, ROW_ID])


def test_the_order_of_fields_does_not_name_the_columns() -> None:
    fields = {"aB": 1, "a_b": 2, "a b": 3, "a": {"b": 4}}
    named = [
        {column.path: column.name for column in decode(dict(order)).columns}
        for order in itertools.permutations(fields.items())
    ]
    assert all(one == named[0] for one in named)
    assert named[0]["a_b"] == "a_b"
    assert len(set(named[0].values())) == 5


def test_a_path_keeps_its_column_for_the_whole_read() -> None:
    decoder = Decoder(stream(), ())
    first, second = decoder.decode(raw({"aB": 1})), decoder.decode(raw({"a_b": 2}, {"aB": 3}))
    assert columns(first) == {"a_b": [1]}
    assert second.frame["a_b"].to_list() == [None, 3]
    other = next(column.name for column in second.columns if column.path == "a_b")
    assert other != "a_b"
    assert second.frame[other].to_list() == [2, None]


def test_files_of_a_read_hold_every_column_known_so_far() -> None:
    decoder = Decoder(stream(), ())
    decoder.decode(raw({"a": 1, "b": "x"}))
    assert columns(decoder.decode(raw({"c": True}))) == {"a": [None], "b": [None], "c": [True]}


@pytest.mark.parametrize(
    ("known", "value", "expected"),
    [
        (INT16, 2**15 - 1, 2**15 - 1),
        (INT16, 2**15, "number_does_not_fit"),
        (INT32, -(2**31) - 1, "number_does_not_fit"),
        (INT32, Int64(5), 5),
        (INT64, 5.0, 5),
        (INT64, 5.5, "type_mismatch"),
        (INT64, 2.0**63, "type_mismatch"),
        (INT64, float("nan"), "type_mismatch"),
        (INT64, True, "type_mismatch"),
        (FLOAT32, 0.5, 0.5),
        (FLOAT32, 0.1, "number_does_not_fit"),
        (FLOAT32, 1e300, "number_does_not_fit"),
        (FLOAT64, 3, 3.0),
        (FLOAT64, Int64(2**53 + 1), "number_does_not_fit"),
        (FLOAT64, Decimal128("1"), "type_mismatch"),
        (decimal(5, 2), Decimal128("999.99"), Decimal("999.99")),
        (decimal(5, 2), Decimal128("1000"), "number_does_not_fit"),
        (decimal(5, 2), Decimal128("0.001"), "number_does_not_fit"),
        (
            decimal(38, 0),
            Decimal128("1234567890123456789012345678901234"),
            Decimal("1234567890123456789012345678901234"),
        ),
        (BOOLEAN, 1, "type_mismatch"),
        (TEXT, 1, "type_mismatch"),
        (TEXT, Binary.from_uuid(uuid.UUID(int=1)), str(uuid.UUID(int=1))),
        (BINARY, "x", "type_mismatch"),
        (DATE, datetime(1969, 12, 31, tzinfo=UTC), date(1969, 12, 31)),
        (DATE, NOW, "type_mismatch"),
        (TIMESTAMP, NOW, NOW.replace(tzinfo=None)),
        (TIME, "12:00:00", "type_mismatch"),
        (DOCUMENT, "text", '"text"'),
        (DOCUMENT, 1, "1"),
        (DOCUMENT, {"b": 1, "a": None}, '{"a":null,"b":1}'),
        (DOCUMENT, float("nan"), "not_a_number_in_document"),
    ],
)
def test_a_known_column_keeps_its_type(known: DataType, value: Any, expected: Any) -> None:
    chunk = decode({"a": value}, known={"a": known})
    if isinstance(expected, str) and chunk.rejected.height:
        assert reasons(chunk) == [(expected, "a")]
        assert chunk.frame.height == 0
    else:
        assert columns(chunk) == {"a": [expected]}
        assert not chunk.rejected.height


def test_the_declared_type_comes_before_the_contract_and_the_contract_before_the_target() -> None:
    class Contract(dy.Schema):
        a = dy.Float64()
        b = dy.Float64()

    known = {"a": INT64, "b": INT64, "c": INT64}
    chunk = decode({"a": 1, "b": 1, "c": 1}, known=known, contract=Contract, types={"a": DOCUMENT})
    assert columns(chunk) == {"a": ["1"], "b": [1.0], "c": [1]}
    assert chunk.frame.schema["b"] == pl.Float64()


def test_a_cursor_of_another_type_is_rejected() -> None:
    chunk = decode({"_id": 1, "at": NOW}, {"_id": 2, "at": "yesterday"}, {"_id": 3, "at": None}, {"_id": 4})
    assert chunk.frame["_id"].to_list() == [1, 3, 4]
    assert reasons(chunk) == [("type_mismatch", "at")]


def test_every_kind_of_key_is_kept_with_a_reject() -> None:
    keys = [1, "a", bson.ObjectId(), uuid.UUID(int=7), {"x": 1}, NOW, Decimal128("1.5"), b"\x00", None]
    for key in keys:
        chunk = decode({"_id": key, "u": uuid.UUID(int=9), "a": "\x00"})
        assert reasons(chunk) == [("nul_character", "a")]
        assert '"_id"' in chunk.rejected["coordinates"][0]


def test_a_document_that_is_no_bson_stops_no_other() -> None:
    good, bad = bson.encode({"_id": 1}), bytearray(bson.encode({"_id": 2, "s": "abc"}))
    bad[-4] = 0xFF  # no UTF-8
    chunk = Decoder(stream(), ()).decode(good + bytes(bad) + bson.encode({"_id": 3}))
    assert chunk.frame["_id"].to_list() == [1, 3]
    assert reasons(chunk) == [("undecodable", "")]
    assert bytes.fromhex(chunk.rejected["row"][0]) == bytes(bad)


@pytest.mark.parametrize("torn", [b"\x00", b"\x00\x00\x00\x00\x00\x00", b"\xff\xff\xff\x7f\x00", b"\x05\x00\x00\x00"])
def test_a_torn_batch_ends(torn: bytes) -> None:
    chunk = Decoder(stream(), ()).decode(bson.encode({"_id": 1}) + torn)
    assert chunk.frame["_id"].to_list() == [1]
    assert set(chunk.rejected["reason"]) == {"undecodable"}


names = st.text("aAbB._$ \\é0\x01", max_size=4)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text("a\x00é\\u0", max_size=6)
    | st.binary(max_size=3)
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))


@settings(derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(names.filter(lambda name: name != "at"), values, max_size=4), max_size=6))
def test_whatever_a_collection_holds_every_document_is_accounted_for(documents: list[dict[str, Any]]) -> None:
    chunk = decode(*documents)
    assert chunk.frame.height + chunk.rejected.height == len(documents)
    assert len({column.name for column in chunk.columns}) == len(chunk.columns)
    assert chunk.frame.columns == [*(column.name for column in chunk.columns), ROW_ID]


def test_fields_of_one_name_keep_their_columns_from_run_to_run() -> None:
    """`a.b` came first and has the plain name; `a_b`, which comes later, may not move in with it."""
    first = decode({"_id": 1, "a": {"b": 1}})
    assert {column.path: column.name for column in first.columns}["a.b"] == "a_b"
    second = Decoder(stream(), first.columns).decode(raw({"_id": 2, "a_b": "other"}))
    names = {column.path: column.name for column in second.columns}
    assert names["a_b"] not in {"a_b", None}
    assert second.frame[names["a_b"]].to_list() == ["other"]
