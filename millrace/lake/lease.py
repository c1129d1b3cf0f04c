"""The lease of a stream as an object of the lake, for warehouses that are not woken for it.

The object is replaced only by whoever read its last version, so that of two runs one gets the lease. The clock is that
of the store: of its answers, and of the moment at which the object was written
(docs/decisions/0023-a-warehouse-that-sleeps.md).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

import orjson

from millrace.base.errors import Conflict, StreamBusy, Superseded
from millrace.lake.store import ChangingObjects, ObjectVersion

LEASE_SECONDS = 120
ATTEMPTS = 20
"""How often a change is tried while others change the lease: one of them gets on each time."""


@dataclass(frozen=True)
class LakeLease:
    """A lease as its object says it."""

    token: int = 0
    """Grows with every taking."""
    holder: str = ""
    seconds: int = 0
    """How long it lasts after it was written; 0: it was given back."""
    loading: int = 0
    """Token of the newest lease under which a load began: what the lake says of the stream may be behind since. Greater
    than ``token``: a batch was loaded that was not read under a lease of the lake."""


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

    def begin_load(self, pipeline: str, stream: str, token: int) -> None:
        """Record that the ledger of the stream may change from now on.

        Raises Superseded if the lease was taken over.
        """

        def change(lease: LakeLease, _held_until: datetime | None) -> LakeLease | None:
            if lease.token > token:
                raise Superseded(
                    "another run took the stream over after this one read it",
                    place=f"pipeline {pipeline}, stream {stream}",
                    remedy="nothing to do: that run reads the same changes",
                )
            return None if lease.loading >= token else replace(lease, loading=token)

        self._change(pipeline, stream, change)

    def doubt(self, pipeline: str, stream: str) -> None:
        """Record that the ledger may change by a batch that was not read under a lease of the lake."""
        self._change(pipeline, stream, lambda lease, _: replace(lease, loading=lease.token + 1))

    @contextmanager
    def take_out(self, pipeline: str, stream: str, holder: str) -> Iterator[int]:
        """Hold the lease while it is taken elsewhere, and yield its token. Raises StreamBusy.

        A run that takes it here later is told by ``loading`` that the ledger may have changed.
        """
        taken = self.take(pipeline, stream, holder)
        try:
            self.begin_load(pipeline, stream, taken.token)
            yield taken.token
        finally:
            self.extend(pipeline, stream, taken.token, seconds=0)

    def find(self, pipeline: str, stream: str) -> LakeLease:
        """Return the lease as it is; with the token 0 if there is none."""
        found = self.objects.find_version(self._key(pipeline, stream))
        return _read(found) if found else LakeLease()

    def find_holder(self, pipeline: str, stream: str) -> str | None:
        """Return who holds the lease now; None if nobody does."""
        found = self.objects.find_version(self._key(pipeline, stream))
        lease = _read(found) if found else LakeLease()
        return lease.holder if _find_end(found, lease) else None

    def _change(self, pipeline: str, stream: str, change: Change) -> LakeLease:
        key = self._key(pipeline, stream)
        for _ in range(ATTEMPTS):
            found = self.objects.find_version(key)
            lease = _read(found) if found else LakeLease()
            changed = change(lease, _find_end(found, lease))
            if changed is None:
                return lease
            if self.objects.replace_version(key, _write(changed), found.version if found else None):
                return changed
        raise Conflict(
            "its lease changes all the time", place=f"stream {pipeline}.{stream}", remedy="see how many runs want it"
        )

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


def _read(found: ObjectVersion) -> LakeLease:
    value = orjson.loads(found.content)
    return LakeLease(**{name: value[name] for name in asdict(LakeLease())})


def _write(lease: LakeLease) -> bytes:
    # The version of an object is a digest of its content: without a random part an earlier version would come back.
    return orjson.dumps({**asdict(lease), "write": secrets.token_hex(8)})
