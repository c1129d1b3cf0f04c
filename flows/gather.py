"""Run steps concurrently until all have ended, and return results and failures.

A bare asyncio.gather would leave the siblings of a failed step running for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

Result = TypeVar("Result")


async def gather_outcomes(steps: Iterable[Awaitable[Result]]) -> list[Result | Exception]:
    """Return the result or the error of each step, in the order of the steps.

    A cancellation is not a failure of a step: it is raised.
    """
    ended: list[Result | Exception] = []
    for outcome in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
        ended.append(outcome)
    return ended


async def gather_results(steps: Iterable[Awaitable[Result]]) -> tuple[list[Result], list[Exception]]:
    """Return the results of the steps that succeeded, in order, and the errors of the others."""
    results: list[Result] = []
    failures: list[Exception] = []
    for outcome in await gather_outcomes(steps):
        if isinstance(outcome, Exception):
            failures.append(outcome)
        else:
            results.append(outcome)
    return results, failures


def raise_all(failures: Iterable[Exception]) -> None:
    """Raise one ExceptionGroup with a message that lists every reason, if there are failures."""
    if raised := list(failures):
        raise ExceptionGroup("; ".join(map(str, raised)), raised)
