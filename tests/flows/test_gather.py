"""Steps side by side: all come to their end, failures are told apart, a cancellation is never swallowed."""

from __future__ import annotations

import asyncio

import pytest

from millrace.flows.gather import gather_results, raise_all


async def step(result: int, seconds: float = 0, error: BaseException | None = None) -> int:
    await asyncio.sleep(seconds)
    if error:
        raise error
    return result


async def test_a_failure_lets_the_others_end() -> None:
    failure = ValueError("second")
    assert await gather_results([step(1, 0.05), step(2, error=failure), step(3)]) == ([1, 3], [failure])


async def test_a_cancelled_step_is_no_success() -> None:
    with pytest.raises(asyncio.CancelledError):
        await gather_results([step(1), step(2, error=asyncio.CancelledError())])


def test_all_reasons_are_in_one_message() -> None:
    raise_all([])
    with pytest.raises(ExceptionGroup, match="first; second"):
        raise_all([ValueError("first"), ValueError("second")])
