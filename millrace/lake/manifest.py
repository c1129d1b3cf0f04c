"""Manifests: a batch as JSON, the last object of a batch that is written.

The manifest holds all that a load needs, so that a load can be repeated at any time from its key alone. The names in
the JSON are those of MANIFEST_VERSION, whatever the fields of ``Batch`` are called.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, get_args

import orjson

from millrace.base.errors import FatalError
from millrace.base.types import Column, DataType
from millrace.declaration.captures import LandingFormat
from millrace.declaration.consent import Consent
from millrace.lake.batch import (
    Batch,
    BatchCounts,
    BatchCoverage,
    BatchFiles,
    BatchKind,
    BatchProgress,
    CommitTimes,
    LogProgress,
    Part,
    RejectCount,
    refused_prefix,
)
from millrace.lake.store import ObjectStore

MANIFEST_VERSION = 5
FIELDS: Mapping[str, str] = {
    "pipeline": "pipeline",
    "stream": "stream",
    "batch_id": "batch_id",
    "kind": "kind",
    "read_at": "read_at",
    "begun_at": "begun_at",
    "effective_at": "effective_at",
    "columns": "columns",
    "child_columns": "child_columns",
    "note": "note",
    "consent": "consent",
    "row_id_column": "identity",
    "time_zones": "zones",
    "files.rows": "parts",
    "files.prefix": "prefix",
    "files.form": "form",
    "files.deletes": "deletes",
    "files.sample": "sample",
    "files.former": "former",
    "files.root_keys": "root_keys",
    "files.rejects": "rejects",
    "files.longest_bytes": "longest_bytes",
    "counts.read": "read",
    "counts.matched": "matched",
    "counts.rejected": "rejected",
    "counts.reject_counts": "reject_counts",
    "counts.source_rows": "source_rows",
    "coverage.has_all_columns": "is_whole",
    "coverage.absent_columns": "absent",
    "coverage.absent_means_deleted": "is_complete",
    "coverage.former_rows_replace_rejects": "former_rows_replace_rejects",
    "coverage.computed_from_all_rows": "is_of_all",
    "coverage.by_value": "by_value",
    "coverage.replaces_target": "replaces_target",
    "progress.token": "token",
    "progress.lower": "lower",
    "progress.position": "position",
    "progress.source": "source",
    "progress.selection": "selection",
    "progress.collected": "collected",
    "progress.closes": "closes",
    "progress.predecessor": "predecessor",
    "progress.origin": "origin",
    "progress.log": "log",
}
"""Fields of ``Batch`` and of its values, with their names in the JSON."""
_PATHS = {name: path for path, name in FIELDS.items()}
_LATER: Mapping[str, object] = {
    "former_rows_replace_rejects": False,
    "replaces_target": False,
    "selection": "",
    "predecessor": None,
    "log": None,
    "child_columns": {},
}
"""Fields that version 5 did not have at first, with the value that is not written: a program from before reads a
manifest without them."""


def write_manifest(store: ObjectStore, batch: Batch) -> str:
    """Write the manifest; from now on the batch exists. Return its key."""
    return _write(store, batch, batch.manifest_key)


def write_refused_manifest(store: ObjectStore, batch: Batch) -> str:
    """Write that the batch was refused for its rejects, and where they are; the batch never exists. Return the key."""
    return _write(store, batch, f"{refused_prefix(batch.pipeline, batch.stream)}/{batch.batch_id}.json")


def read_manifest(store: ObjectStore, key: str) -> Batch:
    """Read a batch back from its manifest. Raises FatalError when the object is not a manifest."""
    try:
        return _batch(orjson.loads(store.get_bytes(key)))
    except (ValueError, KeyError, TypeError) as error:
        raise FatalError(
            f"this is no batch manifest ({type(error).__name__})",
            place=store.uri(key),
            remedy="give the address of a batch.json that this program wrote",
        ) from None


def _write(store: ObjectStore, batch: Batch, key: str) -> str:
    fields = {name: attrgetter(path)(batch) for path, name in FIELDS.items()}
    columns = {name: _columns_as_json(fields[name]) for name in ("columns", "absent")}
    of_children = {path: _columns_as_json(found) for path, found in batch.child_columns.items()}
    value = {"version": MANIFEST_VERSION, **fields, **columns, "child_columns": of_children}
    for name, default in _LATER.items():
        if value[name] == default:
            del value[name]
    store.put_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2), key)
    return key


def _batch(value: dict[str, Any]) -> Batch:
    if value.pop("version") != MANIFEST_VERSION:
        raise ValueError("unknown version")
    if value["kind"] not in get_args(BatchKind) or value["form"] not in get_args(LandingFormat):
        raise ValueError("unknown kind or form")
    groups: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, given in value.items():
        group, _, field = _PATHS[name].rpartition(".")
        groups[group][field] = _DECODERS[name](given) if name in _DECODERS else given
    return Batch(
        **groups[""],
        files=BatchFiles(**groups["files"]),
        counts=BatchCounts(**groups["counts"]),
        coverage=BatchCoverage(**groups["coverage"]),
        progress=BatchProgress(**groups["progress"]),
    )


def _columns_as_json(columns: Iterable[Column]) -> list[dict[str, Any]]:
    return [_column_as_json(column) for column in columns]


def _column_as_json(column: Column) -> dict[str, Any]:
    return {"name": column.name, "path": column.path, **column.type.as_json()}


def _columns(values: list[dict[str, Any]]) -> tuple[Column, ...]:
    return tuple(_column(**value) for value in values)


def _column(name: str, path: str, **measures: Any) -> Column:
    return Column(name, path, DataType.from_json(measures))


def _parts(values: list[dict[str, Any]]) -> tuple[Part, ...]:
    return tuple(Part(**value | {"columns": tuple(value["columns"])}) for value in values)


def _reject_counts(values: list[dict[str, Any]]) -> tuple[RejectCount, ...]:
    return tuple(RejectCount(**value) for value in values)


def _log_progress(value: dict[str, Any]) -> LogProgress:
    committed_at, times = value["committed_at"], value["commit_times"]
    decoded = {
        "committed_at": datetime.fromisoformat(committed_at) if committed_at else None,
        "commit_times": _commit_times(**times) if times else None,
    }
    return LogProgress(**value | decoded)


def _commit_times(keys: int, **moments: str) -> CommitTimes:
    return CommitTimes(keys, **{name: datetime.fromisoformat(moment) for name, moment in moments.items()})


_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("read_at", "begun_at", "effective_at"), datetime.fromisoformat),
    **dict.fromkeys(("columns", "absent"), _columns),
    **dict.fromkeys(("parts", "deletes", "sample", "former", "root_keys"), _parts),
    **dict.fromkeys(("rejects", "zones", "collected", "closes"), tuple),
    "child_columns": lambda value: {path: _columns(found) for path, found in value.items()},
    "reject_counts": _reject_counts,
    "consent": lambda value: Consent(**value),
    "log": _log_progress,
}
