"""A thread that writes one step at a time, so that the caller can make the next chunk meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class WriteBehind:
    """Runs one step at a time on its own thread. The end of the context manager waits for a step that runs."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"write-{name}")
        self._running: Future[None] | None = None

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def start(self, step: Callable[[], None]) -> None:
        """Wait for the step before, then start this one. Raises what the step before raised."""
        self.wait()
        self._running = self._pool.submit(step)

    def wait(self) -> None:
        """Wait for the step that runs. Raises what it raised."""
        if self._running is not None:
            self._running.result()
            self._running = None
