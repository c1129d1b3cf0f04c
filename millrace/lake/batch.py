"""A batch: what one run captured of one stream, or computed of one model, and its manifest, the last object written.

A batch without its manifest is an orphan and harmless. The manifest holds all that a load needs, so that a load
can be repeated at any time from its address alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import orjson

from millrace.base.errors import FatalError
from millrace.base.types import Column, DataType
from millrace.declaration.captures import LandingFormat
from millrace.declaration.consent import NO_CONSENT, Consent
from millrace.lake.store import ObjectStore

MANIFEST_VERSION = 5
MANIFEST_NAME = "batch.json"
SCANS = "sweep-scans"
"""The first part of the keys of objects that a sweep needs and no batch keeps: no name of a pipeline, which has no
hyphen. infra/stack.yaml has the rules that delete them."""
REFUSED = "refused"
PART_NAMES = ("parts", "deletes", "sample", "former", "root_keys")
"""Fields of a batch that are files; earlier versions have only the first three."""

BatchKind = Literal["window", "sweep", "replay", "snapshot", "model"]
"""How a batch came about (docs/decisions/0007-sweep-lease-replay.md, 0009-models.md)."""


@dataclass(frozen=True)
class Part:
    """One file: its key, rows, size, checksum and the names of its columns in the order they were written."""

    key: str
    rows: int
    size_bytes: int
    sha256: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class RejectCount:
    """How many rows were rejected for one reason and field."""

    reason: str
    field: str
    rows: int


@dataclass(frozen=True)
class Batch:
    """``parts`` hold rows, ``deletes`` keys that the source has no more, ``sample`` keys and hashes that the target
    is compared with after the load, as its rows are counted against ``source_rows``.

    ``read`` = ``written`` + ``deleted`` + ``matched`` + ``rejected``; ``matched`` are rows that were compared with the
    target and found equal. ``longest_bytes`` is the longest value per text, binary and document column. ``position``
    is where the next read starts once this batch is applied; None leaves it where it is. ``closes`` are the batches
    whose rejects this one read again. ``token`` is the lease's. ``identity``, ``is_whole`` as in ``Read``.
    ``is_complete``: keys that the target has and the batch lacks have left the source. ``begun_at`` is the beginning
    of the read by the runner's clock, as ``read_at`` is by the source's. ``effective_at``: since when what it shows is
    taken to be so, where rows do not say it themselves (docs/decisions/0010-versions.md). ``origin`` is the manifest,
    in the landing zone, of the batch that this one is a copy of in the processed zone. ``collected``, ``zones`` as in
    ``Read``. ``consent`` is what a person allowed the run to do. ``by_value``: rows are compared with the target value
    by value, whatever the hashes say that the target holds (docs/decisions/0018-stored-hash-is-a-claim.md). ``source``
    is that of the stream's declaration ('': of a model, or not recorded). ``is_of_all``: of a model, computed from
    batches that hold all rows. ``former`` are the rows that the target of a snapshot keeps because they were rejected
    or not read; models are given them too. ``root_keys``, of a model, are keys of its root: rows that hold one of them
    and whose own key is not in ``parts`` have left. ``absent`` are columns that the target or the contract has and no
    row of the batch: they are NULL in what models are given."""

    pipeline: str
    stream: str
    batch_id: str
    kind: BatchKind
    read_at: datetime
    begun_at: datetime
    effective_at: datetime
    lower: str | None
    position: str | None
    columns: tuple[Column, ...]
    parts: tuple[Part, ...]
    read: int
    rejected: int
    prefix: str
    matched: int = 0
    deletes: tuple[Part, ...] = ()
    sample: tuple[Part, ...] = ()
    source_rows: int | None = None
    longest_bytes: dict[str, int] = field(default_factory=dict)
    rejects: tuple[str, ...] = ()
    reject_counts: tuple[RejectCount, ...] = ()
    closes: tuple[str, ...] = ()
    token: int = 0
    identity: str = ""
    is_whole: bool = False
    is_complete: bool = False
    form: LandingFormat = "parquet"
    origin: str = ""
    note: str = ""
    collected: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    by_value: bool = False
    consent: Consent = NO_CONSENT
    source: str = ""
    is_of_all: bool = False
    former: tuple[Part, ...] = ()
    root_keys: tuple[Part, ...] = ()
    absent: tuple[Column, ...] = ()

    @property
    def written(self) -> int:
        """Rows in the Parquet files."""
        return _rows(self.parts)

    @property
    def deleted(self) -> int:
        """Keys in the files of deletes."""
        return _rows(self.deletes)

    @property
    def manifest_key(self) -> str:
        """Key of the manifest."""
        return f"{self.prefix}/{MANIFEST_NAME}"

    @property
    def reads_all(self) -> bool:
        """Every row of the source was read: what was rejected before is right now, or rejected by this batch again."""
        is_first = self.kind == "window" and self.lower is None and self.position is not None
        return is_first or self.kind in {"sweep", "snapshot"} or (self.kind == "model" and self.is_of_all)

    @property
    def holds_all(self) -> bool:
        """Its files hold every row there is, so that a target may be made of it alone. A sweep holds differences."""
        return self.is_of_all or self.is_complete or (self.reads_all and self.kind != "sweep")

    def save(self, store: ObjectStore) -> str:
        """Write the manifest; from now on the batch exists. Returns its key."""
        return self._put(store, self.manifest_key)

    def save_refused(self, store: ObjectStore) -> str:
        """Write that the batch was refused for its rejects, and where they are; it never exists. Returns the key."""
        return self._put(store, f"{refused_prefix(self.pipeline, self.stream)}/{self.batch_id}.json")

    def _put(self, store: ObjectStore, key: str) -> str:
        store.put_bytes(orjson.dumps(self._as_json(), option=orjson.OPT_INDENT_2), key)
        return key

    def _as_json(self) -> dict[str, Any]:
        columns = {name: [_as_json(column) for column in getattr(self, name)] for name in ("columns", "absent")}
        return {"version": MANIFEST_VERSION, **vars(self), **columns}

    @classmethod
    def load(cls, store: ObjectStore, manifest_key: str) -> Batch:
        """Read a batch back from its manifest. Raises FatalError when it is not one."""
        try:
            value = orjson.loads(store.get_bytes(manifest_key))
            if value.pop("version") != MANIFEST_VERSION:
                raise ValueError("unknown version")
            if value["kind"] not in get_args(BatchKind) or value["form"] not in get_args(LandingFormat):
                raise ValueError("unknown kind or form")
            return cls(**value | _restored(value))
        except (ValueError, KeyError, TypeError) as error:
            raise FatalError(
                f"this is no batch manifest ({type(error).__name__})",
                place=store.uri(manifest_key),
                remedy="give the address of a batch.json that this program wrote",
            ) from None


def _restored(value: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: datetime.fromisoformat(value[name]) for name in ("read_at", "begun_at", "effective_at")},
        **{name: tuple(_column(column) for column in value.get(name, ())) for name in ("columns", "absent")},
        **{name: tuple(_part(part) for part in value.get(name, ())) for name in PART_NAMES},
        "rejects": tuple(value["rejects"]),
        "reject_counts": tuple(RejectCount(**count) for count in value["reject_counts"]),
        **{name: tuple(value.get(name, ())) for name in ("closes", "collected", "zones")},
        "consent": Consent(**value.get("consent", {})),
    }


def _part(value: dict[str, Any]) -> Part:
    return Part(**value | {"columns": tuple(value["columns"])})


def _rows(parts: Sequence[Part]) -> int:
    return sum(part.rows for part in parts)


def _as_json(column: Column) -> dict[str, Any]:
    return {"name": column.name, "path": column.path, **column.type.as_json()}


def _column(value: dict[str, Any]) -> Column:
    measures = {name: measure for name, measure in value.items() if name not in {"name", "path"}}
    return Column(value["name"], value["path"], DataType.from_json(measures))


def new_batch_id(read_at: datetime) -> str:
    """Sorts by the moment of the read; unique also for twins that read at the same moment."""
    return f"{read_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"


def batch_prefix(pipeline: str, stream: str, read_at: datetime, batch_id: str) -> str:
    """Where a batch's objects lie; keys of a stream sort by time."""
    return f"{pipeline}/{stream}/{read_at.astimezone(UTC):%Y/%m/%d}/{batch_id}"


def refused_prefix(pipeline: str, stream: str) -> str:
    """Where it is written which batches of a stream were refused; keys sort by the moment of the read."""
    return f"{pipeline}/{stream}/{REFUSED}"
