"""Progress of a long step in the log of its run."""

from __future__ import annotations

import time
from typing import Protocol

from prefect.logging import get_run_logger


class Log(Protocol):
    """Logs a message, with the values in it, as a logger does."""

    def __call__(self, message: str, *values: object) -> None:
        """Log it, or pass it over."""
        ...


def log_now_and_then(every_seconds: float) -> Log:
    """Return a function that logs at most one message in so many seconds, from any thread.

    The other messages are dropped.
    """
    logger, last = get_run_logger(), time.monotonic()

    def log(message: str, *values: object) -> None:
        nonlocal last
        if time.monotonic() - last >= every_seconds:
            last = time.monotonic()
            logger.info(message, *values)

    return log
