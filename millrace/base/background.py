"""Work beside work: the next item is fetched while one is used, and a step is repeated while something lasts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from millrace.base.errors import MillraceError

Item = TypeVar("Item")


async def read_ahead(items: AsyncIterator[Item]) -> AsyncGenerator[Item, None]:
    """Give each item, with the request for the next one already on its way."""
    upcoming = asyncio.ensure_future(anext(items, None))
    try:
        while (item := await upcoming) is not None:
            upcoming = asyncio.ensure_future(anext(items, None))
            yield item
    finally:
        upcoming.cancel()


@contextmanager
def repeat_in_background(step: Callable[[], None], every_seconds: float, name: str) -> Iterator[None]:
    """Run a step every few seconds in a thread, until the ``with`` block ends.

    A step that fails with a MillraceError is tried again at its next time. At the end a step that has begun is waited
    for.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(every_seconds):
            with suppress(MillraceError):
                step()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
