"""A thread for one conversation with a blocking driver; coroutines give it the steps to run.

Steps run in the order they were given, also when the caller was cancelled: what closes a connection never meets a step
that still uses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TypeVar

Item = TypeVar("Item")


class Worker:
    """Runs blocking steps one after the other in one thread; a context manager."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False)

    async def run(self, step: Callable[[], Item]) -> Item:
        """Run a step in the thread, and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, step)

    async def each(self, items: Generator[Item, None, None]) -> AsyncGenerator[Item, None]:
        """Yield every item of a blocking generator. The generator runs, and is closed, in the thread."""
        try:
            while (item := await self.run(lambda: next(items, None))) is not None:
                yield item
                del item  # or it would live until the next one is there
        finally:
            await self.run(items.close)

    @asynccontextmanager
    async def within(self, context: AbstractContextManager[Item]) -> AsyncIterator[Item]:
        """Enter and leave a blocking context manager in the thread; it sees the errors of what is within."""
        entered = await self.run(context.__enter__)
        try:
            yield entered
        except BaseException as error:
            inner_error = error  # the name of an except clause does not outlive it
            if not await self.run(lambda: context.__exit__(type(inner_error), inner_error, inner_error.__traceback__)):
                raise
        else:
            await self.run(lambda: context.__exit__(None, None, None))
