"""A source whose answers are cut short: by a limit of its server, or by a driver that breaks promises.

What does not belong here: what must come of it (judge.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from millrace.capture.chunk import Keys, Source, Window
from millrace.types import Column

Question = Literal["rows", "keys", "scan"]
"""Of a source: the rows of these keys, which of these keys there are, or all rows."""
QUESTIONS: tuple[Question, ...] = ("rows", "keys", "scan")


@dataclass(frozen=True)
class Cut:
    """At most so many rows or keys of each chunk are the answer to these questions."""

    questions: tuple[Question, ...]
    most: int


class ShortSource:
    """A source whose answers are cut. A window is not: nobody knows how many rows it should have."""

    def __init__(self, source: Source, cut: Cut) -> None:
        self._source, self._questions, self._most = source, cut.questions, cut.most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    @asynccontextmanager
    async def read(self, stream: Any, known: Sequence[Column], selection: Window | Keys) -> AsyncIterator[Any]:
        """As the source, less the rows that are cut off."""
        asked: Question = "rows" if isinstance(selection, Keys) else "scan"
        is_cut = asked in self._questions and (asked == "rows" or selection == Window())
        async with self._source.read(stream, known, selection) as reading:
            yield _ShortReading(reading, self._most) if is_cut else reading

    async def existing(self, stream: Any, known: Sequence[Column], keys: Keys) -> Any:
        """As the source, less the keys that are cut off."""
        found = await self._source.existing(stream, known, keys)
        return set(sorted(found, key=repr)[: self._most]) if "keys" in self._questions else found


class _ShortReading:
    def __init__(self, reading: Any, most: int) -> None:
        self._reading, self._most = reading, most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reading, name)

    async def chunks(self) -> AsyncIterator[Any]:
        async for chunk in self._reading.chunks():
            yield replace(chunk, frame=chunk.frame.head(self._most))
