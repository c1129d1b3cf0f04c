"""A word that nobody knows ends in an error, wherever a declared or recorded word decides: never in a default.

Declarations refuse such a word when they are made (test_declarations.py); here it comes in by another way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from millrace import Append, Incremental, Merge, Replace, Scd2, Snapshot, Stream
from millrace.base.errors import FatalError
from millrace.lake.manifest import read_manifest
from millrace.runs.choose import Mode, ReadRequest
from tests.support.engine import Engine

WORDS = Stream("words", "postgres:public.words", "id", Incremental("changed", timedelta(0)))
STREAMS = {
    "merge": WORDS,
    "append": replace(WORDS, load=Append()),
    "versions": replace(WORDS, load=Scd2("version_id")),
    "snapshot": replace(WORDS, capture=Snapshot()),
    "replace": replace(WORDS, capture=Snapshot(), load=Replace(), key=""),
}


async def fill(engine: Engine, stream: Stream) -> list[tuple[Any, ...]]:
    """Two rows, of which the source then lacks one; what the target holds."""
    engine.source("CREATE TABLE words (id int PRIMARY KEY, changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO words VALUES (1), (2)")
    await engine.run(stream)
    engine.source("DELETE FROM words WHERE id = 2")
    return engine.rows("words")


def bent(stream: Stream, field: str, word: str) -> Stream:
    """The stream with a word that its declaration would refuse."""
    copy = replace(stream)
    object.__setattr__(copy, field, word)
    return copy


@pytest.mark.parametrize("mode", ["incremental", "sweep"])
@pytest.mark.parametrize("way", STREAMS)
async def test_an_unknown_delete_policy_stops_every_load_mode(engine: Engine, way: str, mode: Mode) -> None:
    before = await fill(engine, STREAMS[way])
    with pytest.raises(AssertionError, match="keep"):
        await engine.run(bent(STREAMS[way], "deletes", "keep"), ReadRequest(mode))
    assert engine.rows("words") == before


@pytest.mark.parametrize("way", ["merge", "snapshot"])
async def test_an_unknown_schema_policy_stops_the_read(engine: Engine, way: str) -> None:
    before = await fill(engine, STREAMS[way])
    with pytest.raises(AssertionError, match="Quarantine"):
        await engine.run(bent(STREAMS[way], "schema_policy", "Quarantine"), ReadRequest("full"))
    assert engine.rows("words") == before


async def test_an_unknown_mode_of_a_run_reads_nothing(engine: Engine) -> None:
    await fill(engine, WORDS)
    read_request, batches = ReadRequest(), len(engine.batches)
    object.__setattr__(read_request, "mode", "Sweep")
    with pytest.raises(AssertionError, match="Sweep"):
        await engine.run(WORDS, read_request)
    assert len(engine.batches) == batches


MANIFESTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "kind": lambda manifest: manifest.update(kind="Sweep"),
    "form": lambda manifest: manifest.update(form="orc"),
    "version": lambda manifest: manifest.update(version=99),
    "type of a column": lambda manifest: manifest["columns"][0].update(kind="money"),
    "consent": lambda manifest: manifest["consent"].update(allow_all=True),
    "field": lambda manifest: manifest.update(is_final=True),
}


@pytest.mark.parametrize("word", MANIFESTS)
async def test_a_manifest_with_an_unknown_word_is_not_loaded(engine: Engine, word: str) -> None:
    engine.source("CREATE TABLE words (id int PRIMARY KEY, changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO words VALUES (1)")
    batch = await engine.extract(replace(WORDS, load=Merge()))
    assert batch is not None
    manifest = orjson.loads(engine.store.get_bytes(batch.manifest_key))
    MANIFESTS[word](manifest)
    key = f"{batch.files.prefix}/bent.json"
    engine.store.put_bytes(orjson.dumps(manifest), key)
    with pytest.raises(FatalError, match="no batch manifest"):
        read_manifest(engine.store, key)
