"""Look up rows by key, and decide what it means when a row is not found.

A key that the scan has just seen and that a look-up does not find is not taken for deleted: a second pass over the
source's keys decides. If that pass sees the key, the look-up is broken, and nothing is committed
(docs/decisions/0018-stored-hash-is-a-claim.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from millrace.base.errors import FatalError
from millrace.base.types import Column
from millrace.declaration.captures import follows_deletes
from millrace.runs.chunks import broken_look_up
from millrace.runs.context import StreamContext
from millrace.runs.extract import Extraction
from millrace.sources.chunk import Keys

Key = tuple[Any, ...]

UNSETTLED_KEYS, UNSETTLED_BYTES = 100_000, 64 * 1024 * 1024
"""A second pass decides as soon as so many keys, or keys with so much text, are unsettled."""


@dataclass(frozen=True)
class LookUpResult:
    """What one look-up gave."""

    keys: frozenset[Key]
    """Keys of the rows that were found."""
    undecoded_rows: int
    """Number of rows that were found and could not be decoded; their keys are not known."""


class Unsettled(NamedTuple):
    """What is known of a key that no look-up found."""

    is_asked: bool
    """Whether it was asked for because source and target differ."""
    is_added: bool = False
    """Whether its row is in the batch: it was found by the read of rows, and not by the look-up of keys after it."""


class LookUps:
    """Looks up rows by key, and adds them to the batch of a sweep: ``look_up`` for each block of keys, then ``settle``.

    ``key_columns`` are the columns of the key. ``canaries`` are keys that the scan saw; every block asks for them too,
    because a look-up that misses one of them proves nothing about the others.
    """

    def __init__(
        self,
        context: StreamContext,
        target_columns: Sequence[Column],
        key_columns: Sequence[Column],
        canaries: Sequence[Key],
        extraction: Extraction,
    ) -> None:
        self._context, self._target_columns, self._extraction = context, target_columns, extraction
        self._key_columns, self._names = key_columns, tuple(column.name for column in key_columns)
        self._canaries = canaries
        self._unsettled: dict[Key, Unsettled] = {}
        self._unsettled_bytes = 0

    async def look_up(self, scanned: Sequence[Key], missing: Sequence[Key]) -> None:
        """Read rows by keys that the scan saw (``scanned``), and by keys that only the target has (``missing``).

        A missing key is a delete if the source does not have it now either.
        """
        asked = [*scanned, *missing]
        added = await self._add_rows(asked, frozenset(scanned))
        canaries = frozenset(self._canaries).difference(asked)
        existing = await self._find_existing([*asked, *canaries])
        absent = [key for key in missing if key not in existing]
        if self._extraction.has_rejects:
            # The scan may have seen one of these as a row that it rejected.
            self._leave_unsettled({key: Unsettled(True, key in added) for key in absent})
        else:
            await self._remove(absent)
        unfound = [key for key in scanned if key not in existing]
        outside = await self._find_outside(unfound)
        await self._remove([key for key in unfound if key in outside])
        self._leave_unsettled({key: Unsettled(True, key in added) for key in unfound if key not in outside})
        unseen = [key for key in canaries if key not in existing and key not in self._unsettled]
        self._leave_unsettled(dict.fromkeys(unseen, Unsettled(False)))
        if len(self._unsettled) >= UNSETTLED_KEYS or self._unsettled_bytes >= UNSETTLED_BYTES:
            await self.settle()

    def _leave_unsettled(self, keys: Mapping[Key, Unsettled]) -> None:
        """Keep keys for ``settle``."""
        self._unsettled |= keys
        self._unsettled_bytes += sum(len(value) for key in keys for value in key if isinstance(value, str))

    async def settle(self) -> None:
        """Decide about the keys that the scan saw and no look-up found.

        Raises FatalError when the source still has them and no look-up finds them. A row that is found when it is asked
        for a second time is added: it was written meanwhile, or the first look-up was cut short where a row that cannot
        be decoded explained its absence. Its stamp may be old, so that no later run would bring it.
        """
        unsettled, self._unsettled, self._unsettled_bytes = self._unsettled, {}, 0
        if not unsettled:
            return
        seen = await self._scan_again(list(unsettled))
        found = await self._find_existing(seen) if seen else frozenset()
        if unfound := [key for key in seen if key not in found]:
            raise self._broken_look_up(len(unfound))
        deleted = frozenset(unsettled).difference(seen)
        await self._remove([key for key, known in unsettled.items() if known.is_asked and key in deleted])
        again = [key for key in seen if unsettled[key].is_asked and not unsettled[key].is_added]
        await self._add_rows(again, frozenset(again))

    async def _add_rows(self, asked: Sequence[Key], scanned: frozenset[Key]) -> frozenset[Key]:
        """Add the rows with these keys to the batch, and return the keys of those that were added.

        Raises FatalError when the source has a key but does not give its row, unless the row cannot be decoded.
        """
        found = await self._read(asked)
        if scanned <= found.keys:
            return found.keys
        # Of all that were asked for: the row that cannot be decoded may be that of a key which only the target has.
        existing = await self._find_existing([key for key in asked if key not in found.keys])
        if len(existing) <= found.undecoded_rows:
            return found.keys
        again = await self._read(list(existing))
        if len(existing - again.keys) > again.undecoded_rows:
            raise self._broken_look_up(len(existing) - found.undecoded_rows)
        return found.keys | again.keys

    async def _read(self, keys: Sequence[Key]) -> LookUpResult:
        if not keys:
            return LookUpResult(frozenset(), 0)
        found: set[Key] = set()
        undecoded = 0
        selection = Keys(self._names, keys)
        async with (
            self._context.source.read(self._context.stream, self._extraction.fitting.columns, selection) as reading,
            aclosing(reading.read_chunks()) as chunks,
        ):
            async for chunk in chunks:
                await asyncio.to_thread(self._extraction.add, chunk)
                undecoded += chunk.rejected.height
                if set(self._names) <= set(chunk.frame.columns):
                    found.update(chunk.frame.select(self._names).rows())
        return LookUpResult(frozenset(found), undecoded)

    async def _find_existing(self, keys: Sequence[Key]) -> frozenset[Key]:
        found = await self._context.source.find_existing(
            self._context.stream, self._target_columns, Keys(self._names, keys)
        )
        return frozenset(found).intersection(keys)

    async def _find_outside(self, keys: Sequence[Key]) -> frozenset[Key]:
        """Return the keys of rows that do not meet the condition of the stream, in the snapshot of a change log.

        The log tells the keys of all rows. A row that is in the table and not among the chosen ones was looked up well,
        so that no pass over all keys must say so.
        """
        context = self._context
        if not keys or not context.stream.where or context.log is None:
            return frozenset()
        whole_table = replace(context.stream, where="")
        found = await context.source.find_existing(whole_table, self._target_columns, Keys(self._names, keys))
        return frozenset(found).intersection(keys)

    async def _remove(self, keys: Sequence[Key]) -> None:
        if follows_deletes(self._context.stream.deletes):
            await asyncio.to_thread(self._extraction.remove, self._key_columns, keys)

    async def _scan_again(self, keys: Sequence[Key]) -> list[Key]:
        """Return the keys that a second pass over all rows of the source sees."""
        seen = await self._context.source.find_in_all_rows(
            self._context.stream, self._target_columns, Keys(self._names, keys)
        )
        return [keys[index] for index in sorted(set().union(*seen))]

    def _broken_look_up(self, keys: int) -> FatalError:
        kinds = ", ".join(f"{column.name} {column.type}" for column in self._key_columns)
        return broken_look_up(self._context, keys, kinds)
