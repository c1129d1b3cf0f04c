"""Rows asked for by key, and what it means when one is not found.

A key that the scan has just seen and that a look-up does not find is not taken for deleted: a second pass over the
source's keys decides. If that pass sees the key, the look-up is broken, and nothing is committed
(docs/decisions/0018-stored-hash-is-a-claim.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from millrace.base.errors import FatalError
from millrace.base.types import Column
from millrace.declaration.captures import follows_deletes
from millrace.runs.extract import Extraction
from millrace.runs.reads import Route, broken_look_up
from millrace.sources.chunk import Keys

Key = tuple[Any, ...]

UNSETTLED_KEYS, UNSETTLED_BYTES = 100_000, 64 * 1024 * 1024
"""So many keys, or so much text in them, are held that a second pass has to decide about."""


@dataclass(frozen=True)
class Found:
    """What a look-up gave: the ``keys`` of its rows, and how many rows could not be decoded."""

    keys: frozenset[Key]
    undecoded: int


class LookUps:
    """Looks up keys, in blocks, into the batch of a sweep; ``settle`` ends it. ``columns`` are the key's;
    ``canaries`` are keys that the scan saw, asked for in every block: a look-up that misses one proves nothing."""

    def __init__(
        self,
        route: Route,
        known: Sequence[Column],
        columns: Sequence[Column],
        canaries: Sequence[Key],
        extraction: Extraction,
    ) -> None:
        self._route, self._known, self._extraction = route, known, extraction
        self._columns, self._names = columns, tuple(column.name for column in columns)
        self._canaries = canaries
        self._unsettled: dict[Key, bool] = {}
        self._unsettled_bytes = 0

    async def look_up(self, scanned: Sequence[Key], missing: Sequence[Key]) -> None:
        """Read rows by keys that the scan saw, and by keys that only the target has, which are deletes if the source
        does not have them now either."""
        asked = [*scanned, *missing]
        await self._read_all(asked, frozenset(scanned))
        canaries = frozenset(self._canaries).difference(asked)
        here = await self._existing([*asked, *canaries])
        absent = [key for key in missing if key not in here]
        if self._extraction.has_rejects:
            # The scan may have seen one of these as a row that it rejected.
            self._hold(dict.fromkeys(absent, True))
        else:
            await self._remove(absent)
        self._hold({key: True for key in scanned if key not in here})
        self._hold({key: False for key in canaries if key not in here and key not in self._unsettled})
        if len(self._unsettled) >= UNSETTLED_KEYS or self._unsettled_bytes >= UNSETTLED_BYTES:
            await self.settle()

    def _hold(self, keys: Mapping[Key, bool]) -> None:
        self._unsettled |= keys
        self._unsettled_bytes += sum(len(value) for key in keys for value in key if isinstance(value, str))

    async def settle(self) -> None:
        """Decide about the keys that the scan saw and no look-up found. Raises FatalError when they are still there.

        What is found when it is asked for a second time was written meanwhile: the next read brings it.
        """
        unsettled, self._unsettled, self._unsettled_bytes = self._unsettled, {}, 0
        if not unsettled:
            return
        still = await self._seen_again(list(unsettled))
        back = await self._existing(still) if still else frozenset()
        if lost := [key for key in still if key not in back]:
            raise self._broken(len(lost))
        gone = frozenset(unsettled).difference(still)
        await self._remove([key for key, is_asked in unsettled.items() if is_asked and key in gone])

    async def _read_all(self, asked: Sequence[Key], scanned: frozenset[Key]) -> None:
        """Into the batch. A row whose key is there must come, unless it cannot be decoded."""
        found = await self._read(asked)
        absent = scanned - found.keys
        if len(absent) <= found.undecoded:
            return
        here = await self._existing(list(absent))
        if len(here) <= found.undecoded:
            return
        again = await self._read(list(here))
        if len(here - again.keys) > again.undecoded:
            raise self._broken(len(here) - found.undecoded)

    async def _read(self, keys: Sequence[Key]) -> Found:
        if not keys:
            return Found(frozenset(), 0)
        found: set[Key] = set()
        undecoded = 0
        selection = Keys(self._names, keys)
        async with (
            self._route.source.read(self._route.stream, self._extraction.fitting.known, selection) as reading,
            aclosing(reading.chunks()) as chunks,
        ):
            async for chunk in chunks:
                await asyncio.to_thread(self._extraction.add, chunk)
                undecoded += chunk.rejected.height
                if set(self._names) <= set(chunk.frame.columns):
                    found.update(chunk.frame.select(self._names).rows())
        return Found(frozenset(found), undecoded)

    async def _existing(self, keys: Sequence[Key]) -> frozenset[Key]:
        found = await self._route.source.existing(self._route.stream, self._known, Keys(self._names, keys))
        return frozenset(found).intersection(keys)

    async def _remove(self, keys: Sequence[Key]) -> None:
        if follows_deletes(self._route.stream.deletes):
            await asyncio.to_thread(self._extraction.remove, self._columns, keys)

    async def _seen_again(self, keys: Sequence[Key]) -> list[Key]:
        """Those of the keys that a pass over all rows of the source sees."""
        seen = await self._route.source.seen(self._route.stream, self._known, Keys(self._names, keys))
        return [keys[index] for index in sorted(set().union(*seen))]

    def _broken(self, keys: int) -> FatalError:
        kinds = ", ".join(f"{column.name} {column.type}" for column in self._columns)
        return broken_look_up(self._route, keys, kinds)
