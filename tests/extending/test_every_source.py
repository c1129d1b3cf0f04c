"""What holds for every kind of source. A new kind is done when it passes (docs/extending.md)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import polars as pl
import pytest

from millrace import Incremental
from millrace.base.errors import ConfigurationError, SourceMissing, Unreachable
from millrace.base.types import Column, text
from millrace.sources.chunk import Keys, ReadFacts, Selection, Window
from tests.extending.subjects import Subject

NOON = datetime(2024, 2, 29, 12, 0, 0, 500_000, tzinfo=UTC)
TICK = timedelta(microseconds=1000)
"""The least difference that every kind keeps: MongoDB keeps milliseconds."""
EVERYTHING = Window()
LARGEST = 2**63 - 1
BODIES = [
    "",
    " ",
    "a,b",
    'say "no"',
    "'",
    "two\nlines",
    "\r\n",
    "\\N",
    "NULL",
    "null",
    "\\",
    "%s ?",
    "é𝄞",
    "\ufeff",
    "\t",
]


async def read(subject: Subject, selection: Selection = EVERYTHING, **options: Any) -> tuple[ReadFacts, pl.DataFrame]:
    """What a read says, and the id and the body of its rows, in order of id."""
    async with subject.source(**options) as source, source.read(subject.stream(), (), selection) as reading:
        frames = [chunk.frame async for chunk in reading.read_chunks()]
    filled = [frame.select("id", "body") for frame in frames if frame.height]
    return reading.facts, pl.concat(filled).sort("id") if filled else pl.DataFrame(schema=["id", "body"])


async def ids(subject: Subject, selection: Selection = EVERYTHING) -> list[int]:
    return (await read(subject, selection))[1]["id"].to_list()


async def test_an_empty_table_has_no_rows(subject: Subject) -> None:
    assert await ids(subject) == []


async def test_everything_is_read_also_what_has_no_cursor_value(subject: Subject) -> None:
    for number, changed in enumerate((NOON, None, NOON - timedelta(days=20_000))):
        subject.insert(number, "note", changed)
    assert await ids(subject) == [0, 1, 2]


async def test_a_window_has_its_lower_bound_and_not_its_upper(subject: Subject) -> None:
    for number in range(-2, 3):
        subject.insert(number, "note", NOON + number * TICK)
    window = Window((NOON - TICK).isoformat(), (NOON + TICK).isoformat())
    assert await ids(subject, window) == [-1, 0]


async def test_rows_without_a_cursor_value_are_in_every_window_without_an_end(subject: Subject) -> None:
    subject.insert(1, "note", None)
    subject.insert(2, "note", NOON)
    assert await ids(subject, Window((NOON + TICK).isoformat())) == [1]
    assert await ids(subject, Window(None, (NOON + TICK).isoformat())) == [2]


async def test_rows_of_one_cursor_value_are_never_split(subject: Subject) -> None:
    for number in range(5):
        subject.insert(number, "note", NOON)
    assert await ids(subject, Window(NOON.isoformat())) == [0, 1, 2, 3, 4]
    assert await ids(subject, Window(None, NOON.isoformat())) == []


async def test_the_next_window_has_what_was_written_after_a_read(subject: Subject) -> None:
    subject.insert(1, "note", datetime.now(UTC))
    first, _ = await read(subject)
    assert first.next_position is not None
    subject.insert(2, "note", datetime.now(UTC))
    assert 2 in await ids(subject, Window(first.next_position))
    assert datetime.fromisoformat(first.next_position) <= first.read_at


@pytest.mark.parametrize(
    "selection", [Window(None, "2999-01-01T00:00:00+00:00"), Keys(("id",), [(1,)])], ids=["window", "keys"]
)
async def test_a_source_always_says_where_the_next_window_begins(subject: Subject, selection: Selection) -> None:
    subject.insert(1, "note", NOON)
    found, _ = await read(subject, selection)
    assert found.next_position is not None
    assert not selection.advances


async def test_a_position_ahead_of_the_clock_of_the_source_reads_everything_and_says_so(subject: Subject) -> None:
    subject.insert(1, "note", NOON)
    found, rows = await read(subject, Window((datetime.now(UTC) + timedelta(days=1)).isoformat()))
    assert rows["id"].to_list() == [1]
    assert "ahead of the source's clock" in found.note


@pytest.mark.parametrize("body", BODIES, ids=map(ascii, BODIES))
async def test_texts_are_read_as_they_are(subject: Subject, body: str) -> None:
    subject.insert(1, body, NOON)
    subject.insert(2, None, NOON)
    assert (await read(subject))[1].rows() == [(1, body), (2, None)]


async def test_numbers_are_read_exactly(subject: Subject) -> None:
    for number in (LARGEST, -LARGEST, 2**53 + 1):
        subject.insert(number, "note", NOON)
    assert await ids(subject) == [-LARGEST, 2**53 + 1, LARGEST]


async def test_moments_are_read_exactly(subject: Subject) -> None:
    subject.insert(1, "note", NOON + TICK)
    async with subject.source() as source, source.read(subject.stream(), (), EVERYTHING) as reading:
        (frame,) = [chunk.frame async for chunk in reading.read_chunks()]
    (found,) = frame["changed"]
    assert found.replace(tzinfo=UTC) == NOON + TICK


async def test_rows_are_read_by_key(subject: Subject) -> None:
    for number in (1, 2, LARGEST):
        subject.insert(number, "note", NOON)
    assert await ids(subject, Keys(("id",), [(2,), (3,), (LARGEST,)])) == [2, LARGEST]
    assert await ids(subject, Keys(("id",), [(3,)])) == []


async def test_rows_are_read_by_their_location(subject: Subject) -> None:
    subject.insert(2, "note", NOON)
    subject.insert(3, "note", NOON)
    locations = [orjson.dumps({"id": number}).decode() for number in (2, 4, 2)]
    async with subject.source() as source:
        (keys,) = source.keys_of(locations)
    assert len(keys.rows) == 2
    assert await ids(subject, keys) == [2]


async def test_keys_that_exist_are_told(subject: Subject) -> None:
    for number in (1, 2):
        subject.insert(number, "note", NOON)
    subject.delete(1)
    async with subject.source() as source:
        assert await source.find_existing(subject.stream(), (), Keys(("id",), [(1,), (2,), (3,)])) == {(2,)}


async def test_a_pass_over_all_rows_sees_the_keys_that_exist(subject: Subject) -> None:
    for number in (1, 2, 5):
        subject.insert(number, "note", NOON)
    async with subject.source() as source:
        seen = await source.find_in_all_rows(subject.stream(), (), Keys(("id",), [(2,), (3,), (1,)]))
    assert sorted(seen, key=min) == [{0}, {2}]


async def test_rows_are_counted_and_drawn(subject: Subject) -> None:
    for number in range(20):
        subject.insert(number, "note", NOON)
    async with subject.source() as source, source.read(subject.stream(), (), Keys((), ())) as reading:
        assert await reading.count() == 20
        count, chunks = await reading.sample(1_000)
    assert count == 20
    assert sorted(number for chunk in chunks for number in chunk.frame["id"]) == list(range(20))


async def test_a_plan_names_the_bound_and_the_columns_and_reads_no_row(subject: Subject) -> None:
    async with subject.source() as source:
        query, columns = await source.plan(subject.stream(), (), Window(NOON.isoformat()))
    assert "2024-02-29" in query
    is_of_documents = subject.stream().is_of_documents
    assert [column.path for column in columns] == ([] if is_of_documents else ["id", "body", "changed"])


async def test_columns_keep_the_names_that_the_target_has(subject: Subject) -> None:
    subject.insert(1, "note", NOON)
    target_columns = [Column("words", "body", text())]
    async with subject.source() as source, source.read(subject.stream(), target_columns, EVERYTHING) as reading:
        (frame,) = [chunk.frame async for chunk in reading.read_chunks()]
    assert frame["words"].to_list() == ["note"]
    assert "body" not in frame.columns


async def test_a_table_that_is_not_there_is_an_error_that_names_the_stream(subject: Subject) -> None:
    with pytest.raises(SourceMissing, match=rf"stream nothing \({subject.kind}"):
        async with subject.source() as source, source.read(subject.stream("nothing"), (), EVERYTHING) as reading:
            [chunk async for chunk in reading.read_chunks()]


async def test_a_server_that_does_not_answer_is_an_error_that_names_the_stream(subject: Subject) -> None:
    with pytest.raises(Unreachable, match=rf"stream notes \({subject.kind}"):
        async with subject.open(subject.dead_address, 1_000) as source, source.read(subject.stream(), (), EVERYTHING):
            pass


async def test_a_cursor_column_that_is_no_time_is_an_error_that_names_it(subject: Subject) -> None:
    subject.insert(1, "note", NOON)
    stream = subject.stream(capture=Incremental("body"))
    with pytest.raises(ConfigurationError, match="body"):
        async with subject.source() as source, source.read(stream, (), EVERYTHING):
            pass


async def test_a_caller_who_goes_before_the_end_leaves_the_source_usable(subject: Subject) -> None:
    for number in range(50):
        subject.insert(number, "note", NOON)
    async with subject.source(chunk_bytes=100) as source:
        async with source.read(subject.stream(), (), EVERYTHING) as reading, aclosing(reading.read_chunks()) as chunks:
            async for _ in chunks:
                break
        async with source.read(subject.stream(), (), EVERYTHING) as reading:
            rows = sum([chunk.frame.height async for chunk in reading.read_chunks()])
    assert rows == 50


async def test_reads_run_side_by_side(subject: Subject) -> None:
    subject.insert(1, "note", NOON)
    assert list(await asyncio.gather(*(ids(subject) for _ in range(4)))) == [[1]] * 4


async def test_a_table_is_read_in_bounded_chunks(table: Subject) -> None:
    for number in range(50):
        table.insert(number, "x" * 100, NOON)
    async with table.source(chunk_bytes=1_000) as source, source.read(table.stream(), (), EVERYTHING) as reading:
        heights = [chunk.frame.height async for chunk in reading.read_chunks()]
    assert sum(heights) == 50
    assert max(heights) < 20


async def test_a_read_of_a_table_shows_one_snapshot(table: Subject) -> None:
    table.insert(1, "note", NOON)
    async with table.source() as source, source.read(table.stream(), (), EVERYTHING) as reading:
        table.insert(2, "note", NOON)
        table.delete(1)
        found = [number async for chunk in reading.read_chunks() for number in chunk.frame["id"]]
        assert (found, await reading.count()) == ([1], 1)
    assert await ids(table) == [2]


async def test_an_empty_table_tells_its_columns(table: Subject) -> None:
    async with table.source() as source, source.read(table.stream(), (), EVERYTHING) as reading:
        (chunk,) = [chunk async for chunk in reading.read_chunks()]
    assert [column.path for column in chunk.columns] == ["id", "body", "changed"]
    assert reading.facts.has_all_columns


async def test_a_text_with_a_nul_character_is_rejected_with_its_place(table: Subject) -> None:
    """Postgres holds none."""
    if table.kind == "postgres":
        with pytest.raises(ValueError, match="NUL"):
            table.insert(1, "a\x00b", NOON)
        return
    table.insert(1, "a\x00b", NOON)
    table.insert(2, "b", NOON)
    async with table.source() as source, source.read(table.stream(), (), EVERYTHING) as reading:
        (chunk,) = [chunk async for chunk in reading.read_chunks()]
    assert chunk.frame["id"].to_list() == [2]
    assert chunk.rejected.select("reason", "field", "coordinates").rows() == [("nul_character", "body", '{"id":"1"}')]


async def test_a_declared_column_that_is_not_there_is_named(table: Subject) -> None:
    stream = replace(table.stream(), types={"weight": text()})
    with pytest.raises(SourceMissing, match="weight"):
        async with table.source() as source, source.read(stream, (), EVERYTHING):
            pass
