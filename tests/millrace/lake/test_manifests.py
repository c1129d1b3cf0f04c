"""Manifests: names in the JSON stay, whatever the fields of a batch are called.

``batches_of_e416d86`` are manifests that the program of that commit wrote: of a window of documents, of a snapshot as
CSV, of a stream as copied into the processed zone, and of two models of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from millrace.base.types import BINARY, DOCUMENT, Column
from millrace.declaration.consent import Consent
from millrace.lake.batch import (
    Batch,
    BatchCounts,
    BatchCoverage,
    BatchFiles,
    BatchProgress,
    RejectCount,
)
from millrace.lake.manifest import FIELDS, read_manifest, write_manifest, write_refused_manifest

OLD = Path(__file__).parent / "batches_of_e416d86"
GROUPS = {"files": BatchFiles, "counts": BatchCounts, "coverage": BatchCoverage, "progress": BatchProgress}
NAMES = sorted(path.stem for path in OLD.iterdir())


class Memory:
    """An object store in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def uri(self, key: str) -> str:
        return f"memory://{key}"

    def put_file(self, path: Path, key: str) -> int:
        return self.put_bytes(path.read_bytes(), key)

    def put_bytes(self, data: bytes, key: str) -> int:
        self.objects[key] = data
        return len(data)

    def get_bytes(self, key: str) -> bytes:
        return self.objects[key]

    def get_file(self, key: str, path: Path) -> None:
        path.write_bytes(self.objects[key])

    def exists(self, key: str) -> bool:
        return key in self.objects

    def list_keys(self, prefix: str) -> Iterator[str]:
        return (key for key in sorted(self.objects) if key.startswith(prefix))


def old(name: str) -> tuple[Memory, Batch]:
    """A store that holds an old manifest, and the batch that is read from it."""
    store = Memory()
    store.put_bytes((OLD / f"{name}.json").read_bytes(), name)
    return store, read_manifest(store, name)


def test_a_window_of_an_earlier_program_is_read_with_all_of_its_facts() -> None:
    _, batch = old("window")
    assert (batch.pipeline, batch.stream, batch.kind) == ("shop", "notes", "window")
    assert batch.read_at == batch.effective_at == datetime(2026, 11, 30, 12, tzinfo=UTC) < batch.begun_at
    assert batch.progress == BatchProgress(
        token=7,
        lower="2026-11-01T00:00:00+00:00",
        position="2026-11-30T12:00:00+00:00",
        source="mongo/notes:shop.notes",
        collected=("a/1", "a/2"),
        closes=("20261129T120000.000000Z-00000001",),
    )
    assert batch.counts == BatchCounts(7, 2, 1, (RejectCount("infinite_date", "due", 1),), 3)
    assert (batch.written, batch.deleted) == (2, 2)
    assert batch.coverage == BatchCoverage(
        absent_columns=(Column("gone", "old.gone", DOCUMENT), Column("raw", "raw", BINARY)), by_value=True
    )
    assert (batch.row_id_column, batch.time_zones, batch.note) == ("row_id$", ("Europe/Berlin",), "a note of the read")
    assert batch.consent == Consent(accept_rejects=True, accept_source=True)
    assert batch.files.longest_bytes == {"body": 11, "row_id$": 1}
    assert [len(batch.files.rejects), len(batch.files.sample), len(batch.files.deletes)] == [1, 1, 1]


def test_what_batches_of_an_earlier_program_hold_is_told_as_it_was() -> None:
    batches = {name: old(name)[1] for name in NAMES}
    assert {name: (batch.visited_all_rows, batch.holds_all_rows) for name, batch in batches.items()} == {
        "copied": (True, True),
        "model": (True, True),
        "model_of_lines": (True, True),
        "snapshot": (True, True),
        "window": (False, False),
    }
    assert (batches["snapshot"].files.form, len(batches["snapshot"].files.former)) == ("csv", 1)
    assert batches["copied"].progress.origin.endswith("-5af7bf95/batch.json")
    assert batches["copied"].coverage.has_all_columns
    assert batches["model"].coverage.computed_from_all_rows
    assert [part.rows for part in batches["model_of_lines"].files.root_keys] == [3]


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_written_as_the_earlier_program_wrote_it(name: str) -> None:
    store, batch = old(name)
    given = orjson.loads((OLD / f"{name}.json").read_bytes())
    assert orjson.loads(store.get_bytes(write_manifest(store, batch))) == given
    assert orjson.loads(store.get_bytes(write_refused_manifest(store, batch))) == given


def test_a_field_that_an_earlier_program_does_not_know_is_written_if_it_says_something() -> None:
    store, batch = old("snapshot")
    changed = replace(batch, coverage=replace(batch.coverage, former_rows_replace_rejects=True))
    assert read_manifest(store, write_manifest(store, changed)) == changed != batch


def test_every_field_of_a_batch_is_in_its_manifest() -> None:
    own = {field.name for field in fields(Batch)} - GROUPS.keys()
    grouped = {f"{group}.{field.name}" for group, value in GROUPS.items() for field in fields(value)}
    assert sorted(FIELDS) == sorted(own | grouped)
