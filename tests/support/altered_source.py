"""A real source whose answers are altered on their way: what a limit of its server, a driver or a type does to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, Literal, cast

import pytest

from millrace import Stream
from millrace.sources.chunk import Keys, Source, Window
from tests.support.engine import Engine

Question = Literal["rows", "keys", "scan"]
"""Of a source: the rows of these keys, which of these keys there are, or all rows."""
Alter = Callable[[Any], Any]
"""Makes another answer of an answer: a frame of rows, or a set of keys."""


class AlteredSource:
    """A source whose answers to some questions are altered, chunk by chunk. A window is not: nobody knows how many rows
    it should have. ``before`` is called once, before the first question by key."""

    def __init__(
        self, source: Source, answers: Mapping[Question, Alter], before: Callable[[], object] = lambda: None
    ) -> None:
        self._source, self._answers, self._before = source, answers, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    @asynccontextmanager
    async def read(self, stream: Any, known: Any, selection: Window | Keys) -> AsyncIterator[Any]:
        """As the source, altered."""
        alter: Alter | None = None
        if isinstance(selection, Keys):
            self._begin()
            alter = self._answers.get("rows")
        elif selection == Window():
            alter = self._answers.get("scan")
        async with self._source.read(stream, known, selection) as reading:
            yield _AlteredReading(reading, alter) if alter else reading

    async def find_existing(self, stream: Any, known: Any, keys: Keys, /) -> Any:
        """As the source, altered."""
        self._begin()
        found = await self._source.find_existing(stream, known, keys)
        return self._answers["keys"](found) if "keys" in self._answers else found

    def _begin(self) -> None:
        self._before, before = (lambda: None), self._before
        before()


class _AlteredReading:
    def __init__(self, reading: Any, alter: Alter) -> None:
        self._reading, self._alter = reading, alter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reading, name)

    async def read_chunks(self) -> AsyncIterator[Any]:
        async for chunk in self._reading.read_chunks():
            yield replace(chunk, frame=self._alter(chunk.frame))


def alter_answers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, before: Callable[[], object] = lambda: None, **answers: Alter
) -> None:
    """Let the sources of an engine answer so from now on."""

    @contextmanager
    def source(stream: Stream) -> Iterator[Any]:
        with Engine._source(engine, stream) as real:
            yield AlteredSource(real, cast("dict[Question, Alter]", answers), before)

    monkeypatch.setattr(engine, "_source", source)
