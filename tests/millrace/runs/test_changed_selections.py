"""A changed condition of a stream is told before its rows are deleted, and needs consent."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from millrace import Snapshot
from millrace.base.errors import ConfigurationError
from millrace.declaration.consent import Consent
from millrace.declaration.selection_text import describe_selection
from millrace.lake.manifest import read_manifest
from millrace.runs.choose import ReadRequest
from tests.support.engine import Engine, counts
from tests.support.notes import NOTES, create_notes

ACCEPT = ReadRequest(consent=Consent(accept_source=True))
SOME = replace(NOTES, where="id < 3")


@pytest.mark.parametrize("kept_in", ["warehouse", "lake"])
async def test_a_changed_condition_is_refused_until_it_is_accepted(either: Engine, kept_in: str) -> None:
    engine = either.with_leases_in(kept_in)  # type: ignore[arg-type]  # one of both
    create_notes(engine, 4)
    await engine.run(NOTES)
    told = r"holds the rows of `all rows`, and the declaration \(where\) now selects those of `id < 3`.*--accept-source"
    for read_request in (ReadRequest(), ReadRequest("full"), ReadRequest("sweep"), ReadRequest("reload")):
        with pytest.raises(ConfigurationError, match=told):
            await engine.run(SOME, read_request)
    assert engine.rows("notes", "id") == [(1,), (2,), (3,), (4,)]
    result = await engine.run(SOME, ACCEPT)
    assert result is not None
    assert (result.kind, result.deleted) == ("sweep", 2)
    assert await engine.run(replace(NOTES, where="  id < 3\n")) is None, "blanks around it do not matter"
    with pytest.raises(ConfigurationError, match="holds the rows of `id < 3`"):
        await engine.run(NOTES)
    assert counts(await engine.run(NOTES, ACCEPT)) == {"read": 4, "inserted": 2, "unchanged": 2}


async def test_a_snapshot_asks_as_well(either: Engine) -> None:
    create_notes(either, 4)
    stream = replace(NOTES, capture=Snapshot())
    await either.run(stream)
    some = replace(stream, where="id < 3")
    with pytest.raises(ConfigurationError, match="--accept-source"):
        await either.run(some)
    assert len(either.rows("notes")) == 4
    result = await either.run(some, ACCEPT)
    assert (counts(result), len(either.rows("notes"))) == ({"read": 4, "deleted": 2, "unchanged": 2}, 2)


async def test_an_installation_that_recorded_no_condition_is_told_nothing(either: Engine) -> None:
    create_notes(either, 4)
    await either.run(NOTES)
    either.query("DELETE FROM millrace.selections")
    assert await either.run(SOME) is None
    either.source("UPDATE notes SET changed = clock_timestamp() WHERE id = 1")
    await either.run(SOME)
    assert either.query("SELECT selection FROM millrace.selections") == [("id < 3",)]
    with pytest.raises(ConfigurationError, match="holds the rows of `id < 3`"):
        await either.run(NOTES)


async def test_a_batch_of_another_condition_is_refused_when_it_is_loaded(either: Engine) -> None:
    create_notes(either, 4)
    await either.run(NOTES)
    either.source("UPDATE notes SET changed = clock_timestamp() WHERE id = 1")
    batch = await either.extract(SOME)
    assert batch is not None
    assert read_manifest(either.store, batch.manifest_key) == batch
    with pytest.raises(ConfigurationError, match=r"now selects those of `id < 3`"):
        either.load(SOME, batch)


def test_equal_conditions_have_one_text_and_a_long_one_is_a_hash() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    first = describe_selection({"status": "paid", "at": {"$gt": moment}})
    assert first == describe_selection({"at": {"$gt": moment}, "status": "paid"})
    assert "2026" in first
    assert describe_selection("") == describe_selection({}) == "all rows"
    assert re.fullmatch("sha256 [0-9a-f]{64}", describe_selection("x" * 20_000))
