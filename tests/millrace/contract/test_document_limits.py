"""What a document may hold in a warehouse: text, levels and numbers; one that holds more is rejected alone."""

from __future__ import annotations

import polars as pl
import pytest

from millrace import Incremental, Merge, Queue, Stream
from millrace.contract.document_limits import count_levels
from millrace.warehouse.dialect import POSTGRES_DIALECT, REDSHIFT_DIALECT
from tests.support.engine import Engine, counts
from tests.support.queue_messages import collect

LONG = "x" * 70_000
PAPERS = Stream("papers", "postgres:public.papers", "id", Incremental("changed"))
WIDE_HEX = '{"sha": "12e4567890123456789012345678901234567890123", "price": 1.50}'


def nested(depth: int, inner: str = "1") -> str:
    return "[" * depth + inner + "]" * depth


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{}", None),
        (WIDE_HEX, None),
        (nested(1_000), None),
        (nested(1_001), "too_deep"),
        (nested(1_500, f'"{LONG}"'), "too_deep"),
        (nested(100_000, f'"{LONG}"'), "too_deep"),
        ('{"a":' * 1_001 + "1" + "}" * 1_001, "too_deep"),
        (nested(990, '"[[[[[[[[[[[[[[\\"[[[["'), None),
        (f"[{','.join(['[{}]'] * 2_000)}]", None),
        (f'["{LONG}"]', "too_long"),
        (f'{{"{LONG}": 1}}', "too_long"),
        ('"' + "é" * 40_000 + '"', "too_long"),
        ("[1e308, -1e-308, 5e-324, 0e999]", None),
        ("[1e309]", "number_does_not_fit"),
        ("[1, -1E+400]", "number_does_not_fit"),
        ("[1e-400]", "number_does_not_fit"),
        (f"[{'9' * 38}, -{'9' * 38}]", None),
        (f"[{'9' * 39}]", "number_does_not_fit"),
        (f"[0.{'1' * 38}]", None),
        (f"[0.{'1' * 39}]", "number_does_not_fit"),
        (f'["{"9" * 39}", "1e999"]', None),
        (f"[{'9' * 5_000}]", "number_does_not_fit"),
    ],
)
def test_what_redshifts_documents_hold(document: str, reason: str | None) -> None:
    unfit = REDSHIFT_DIALECT.limits.documents.find_unfit(pl.Series([None, document, "[1]"], dtype=pl.String))
    assert unfit.to_list() == [None, reason, None]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (nested(5_000), None),
        (nested(5_001), "too_deep"),
        ("[1e400]", None),
        (f"[{'9' * 5_000}]", None),
        ("[1e20000]", "number_does_not_fit"),
        ("[1e-20000]", "number_does_not_fit"),
    ],
)
def test_what_the_documents_of_postgres_hold(document: str, reason: str | None) -> None:
    assert POSTGRES_DIALECT.limits.documents.find_unfit(pl.Series([document])).to_list() == [reason]


def test_brackets_in_texts_are_no_levels() -> None:
    documents = ("1", "[]", '{"[": ["]", {}]}', '["\\\\", ["\\"[["]]')
    assert [count_levels(pl.Series([one])) for one in documents] == [0, 1, 3, 2]


@pytest.mark.parametrize("kind", ["json", "jsonb"])
async def test_a_document_that_the_warehouse_cannot_hold_is_rejected_alone(either: Engine, kind: str) -> None:
    """By a window and by a sweep; what a warehouse holds arrives."""
    deepest = either.warehouse.dialect.limits.document_levels
    either.source(f"CREATE TABLE papers (id int PRIMARY KEY, body {kind}, changed timestamptz DEFAULT now())")
    for number, body in enumerate([nested(deepest), nested(deepest + 1), nested(deepest + 500, f'"{LONG}"'), "[7]"]):
        either.source(f"INSERT INTO papers VALUES ({number}, '{body}')")
    if kind == "json":
        either.source("INSERT INTO papers VALUES (4, '[1e200000]')")
    rejected = 3 if kind == "json" else 2
    assert counts(await either.deliver(PAPERS)) == {"read": 2 + rejected, "inserted": 2, "rejected": rejected}
    assert {one["reason"] for one in either.rejects()} <= {"too_deep", "number_does_not_fit"}
    assert counts(await either.sweep(PAPERS)) == {"read": 2 + rejected, "unchanged": 2, "rejected": rejected}


async def test_a_number_within_a_document_arrives_exactly_or_its_row_is_rejected(engine: Engine) -> None:
    engine.source("CREATE TABLE papers (id int PRIMARY KEY, body jsonb, changed timestamptz DEFAULT now())")
    engine.source(f"INSERT INTO papers VALUES (1, '[{'9' * 38}]'), (2, '[{'9' * 39}]'), (3, '[1e400]'), (4, '[1e2]')")
    assert counts(await engine.deliver(PAPERS)) == {"read": 4, "inserted": 2, "rejected": 2}
    assert {(one["reason"], one["field"]) for one in engine.rejects()} == {("number_does_not_fit", "body")}
    assert engine.query("SELECT id FROM engine.papers ORDER BY id") == [(1,), (4,)]


async def test_messages_of_very_many_levels_stop_no_other(either: Engine) -> None:
    stream = Stream("orders", "sqs/orders", "id", Queue(), load=Merge())
    bodies = [f'{{"id": "{depth}", "a": {nested(depth)}}}' for depth in (1, 200, 300, 1_010, 1_100, 100_000)]
    long = nested(300, f'"{LONG}"')
    collect(either, *bodies, f'{{"id": "long", "a": {long}}}')
    result = await either.run(stream)
    assert result and (result.read, result.inserted, result.rejected) == (7, 2, 5)
