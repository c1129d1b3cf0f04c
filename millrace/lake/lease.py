"""The lease of a stream as an object of the lake, for warehouses that are not woken for it.

The object is replaced only by whoever read its last version, so that of two runs one gets the lease. The clock is that
of the store: of its answers, and of the moment at which the object was written
(docs/decisions/0023-a-warehouse-that-sleeps.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import orjson

from millrace.base.errors import StreamBusy, Superseded
from millrace.lake.change_object import change_object
from millrace.lake.store import ChangingObjects, ObjectVersion

LEASES = "stream-leases"
"""The first part of the keys of leases and states: no name of a pipeline, which has no hyphen."""
LEASE_SECONDS = 120


def prefix_of(address: str) -> str:
    """Return the first part of the keys of what the lake keeps for one warehouse: two warehouses share nothing."""
    return f"{LEASES}/{sha256(address.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class LakeLease:
    """A lease as its object says it."""

    token: int = 0
    """Grows with every taking."""
    holder: str = ""
    seconds: int = 0
    """How long it lasts after it was written; 0: it was given back."""
    loads: int = 0
    """How many loads of the stream began: since each of them, what the lake says of the stream may be behind."""


Change = Callable[[LakeLease, datetime | None], LakeLease | None]
"""Returns the lease that takes the place of one, and is told until when that is held (None: it is free). None: the
lease stays as it is."""


@dataclass(frozen=True)
class LakeLeases:
    """The leases of the streams of one warehouse."""

    objects: ChangingObjects
    prefix: str
    """The first part of the keys of their objects."""

    def take(self, pipeline: str, stream: str, holder: str) -> LakeLease:
        """Take the lease of a stream. The same holder may take it again at once. Raises StreamBusy."""

        def change(lease: LakeLease, held_until: datetime | None) -> LakeLease:
            if held_until and lease.holder != holder:
                raise make_busy(lease.holder, held_until, pipeline, stream)
            return replace(lease, token=lease.token + 1, holder=holder, seconds=LEASE_SECONDS)

        return self._change(pipeline, stream, change)

    def raise_token(self, pipeline: str, stream: str, token: int, minimum: int) -> LakeLease:
        """Give the lease in hand a token that is greater than ``minimum``. Raises StreamBusy if it was taken over."""

        def change(lease: LakeLease, held_until: datetime | None) -> LakeLease:
            if lease.token != token:
                raise make_busy(lease.holder, held_until, pipeline, stream)
            return replace(lease, token=max(token, minimum + 1), seconds=LEASE_SECONDS)

        return self._change(pipeline, stream, change)

    def extend(self, pipeline: str, stream: str, token: int, seconds: int = LEASE_SECONDS) -> None:
        """Let the lease end ``seconds`` from now; with 0 it is given back. One that was taken over is left alone."""
        self._change(
            pipeline, stream, lambda lease, _: replace(lease, seconds=seconds) if lease.token == token else None
        )

    def begin_load(self, pipeline: str, stream: str, token: int) -> LakeLease:
        """Record that the ledger of the stream may change from now on.

        Raises Superseded if the lease was taken over.
        """

        def change(lease: LakeLease, _held_until: datetime | None) -> LakeLease:
            if lease.token > token:
                raise Superseded(
                    "another run took the stream over after this one read it",
                    place=f"pipeline {pipeline}, stream {stream}",
                    remedy="nothing to do: that run reads the same changes",
                )
            return replace(lease, loads=lease.loads + 1)

        return self._change(pipeline, stream, change)

    def doubt(self, pipeline: str, stream: str) -> None:
        """Record that the ledger may change by a batch that was not read under a lease of the lake."""

        def change(lease: LakeLease, held_until: datetime | None) -> LakeLease:
            # A lease that has ended must not begin again because its object is written.
            return replace(lease, loads=lease.loads + 1, seconds=lease.seconds if held_until else 0)

        self._change(pipeline, stream, change)

    @contextmanager
    def take_out(self, pipeline: str, stream: str, holder: str) -> Iterator[int]:
        """Hold the lease while it is taken elsewhere, and yield its token. Raises StreamBusy.

        A run that takes it here later is told by ``loads`` that the ledger may have changed.
        """
        taken = self.take(pipeline, stream, holder)
        try:
            self.begin_load(pipeline, stream, taken.token)
            yield taken.token
        finally:
            self.extend(pipeline, stream, taken.token, seconds=0)

    def find(self, pipeline: str, stream: str) -> LakeLease:
        """Return the lease as it is; with the token 0 if there is none."""
        return _read(self.objects.find_version(self._key(pipeline, stream)))

    def find_holder(self, pipeline: str, stream: str) -> str | None:
        """Return who holds the lease now; None if nobody does."""
        found = self.objects.find_version(self._key(pipeline, stream))
        lease = _read(found)
        return lease.holder if _find_end(found, lease) else None

    def _change(self, pipeline: str, stream: str, change: Change) -> LakeLease:
        """Change the lease, and return it as it is then."""
        lease = LakeLease()

        def make_content(found: ObjectVersion | None) -> Mapping[str, Any] | None:
            nonlocal lease
            former = _read(found)
            changed = change(former, _find_end(found, former))
            lease = changed or former
            return None if changed is None else asdict(changed)

        change_object(self.objects, self._key(pipeline, stream), make_content, f"stream {pipeline}.{stream}")
        return lease

    def _key(self, pipeline: str, stream: str) -> str:
        return f"{self.prefix}/{pipeline}/{stream}/lease.json"


def make_busy(holder: str, held_until: datetime | None, pipeline: str, stream: str) -> StreamBusy:
    """Return the error of a run that wants a stream that another one holds."""
    return StreamBusy(
        f"{holder} holds the stream until {held_until:%H:%M:%S} UTC, and longer if it goes on"
        if held_until
        else f"{holder} holds the stream",
        place=f"stream {pipeline}.{stream}",
        remedy="wait for that run, or for the lease to end if it is dead",
    )


def _find_end(found: ObjectVersion | None, lease: LakeLease) -> datetime | None:
    """Return until when a lease is held; None if it has ended."""
    if found is None:
        return None
    end = found.written_at + timedelta(seconds=lease.seconds)
    return end if end > found.read_at else None


def _read(found: ObjectVersion | None) -> LakeLease:
    """Return the lease that an object says; one with the token 0 if there is no object."""
    fields = orjson.loads(found.content) if found else {}
    # A program of before wrote no number of loads.
    return LakeLease(**{name: fields.get(name, default) for name, default in asdict(LakeLease()).items()})
