"""Run steps side by side to their ends: what came out, and what failed.

A bare gather would leave siblings of a failed step running for ever. What does not belong here: the steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

Result = TypeVar("Result")


async def together(steps: Iterable[Awaitable[Result]]) -> tuple[list[Result], list[Exception]]:
    """Results in order, and failures. A cancellation is no failure of a step: it goes on to the caller."""
    results: list[Result] = []
    failures: list[Exception] = []
    for outcome in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(outcome, Exception):
            failures.append(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            results.append(outcome)
    return results, failures


def raise_all(failures: Iterable[Exception]) -> None:
    """One ExceptionGroup whose message holds every reason, if there is any."""
    if raised := list(failures):
        raise ExceptionGroup("; ".join(map(str, raised)), raised)
