"""Run steps side by side to their ends: what came out, and what failed.

A bare gather would leave siblings of a failed step running for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

Result = TypeVar("Result")


async def outcomes(steps: Iterable[Awaitable[Result]]) -> list[Result | Exception]:
    """What came out of each step, in order: its result, or why it failed. A cancellation is no failure of a step: it
    goes on to the caller."""
    ended: list[Result | Exception] = []
    for outcome in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
        ended.append(outcome)
    return ended


async def together(steps: Iterable[Awaitable[Result]]) -> tuple[list[Result], list[Exception]]:
    """Results in order, and failures."""
    results: list[Result] = []
    failures: list[Exception] = []
    for outcome in await outcomes(steps):
        if isinstance(outcome, Exception):
            failures.append(outcome)
        else:
            results.append(outcome)
    return results, failures


def raise_all(failures: Iterable[Exception]) -> None:
    """One ExceptionGroup whose message holds every reason, if there is any."""
    if raised := list(failures):
        raise ExceptionGroup("; ".join(map(str, raised)), raised)
