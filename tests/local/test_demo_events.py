"""How the demo of events keeps consumers at work: real processes, in place of the queue a file that holds a number."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local.demos import events_demo
from millrace.base.errors import FatalError

SECONDS = 5
NOTHING = "pass"


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """With 1,000 messages."""
    held = tmp_path / "held"
    held.write_text("1000")
    monkeypatch.setattr(events_demo, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(events_demo, "_count_messages", lambda queue: int(queue.held.read_text() or 0))
    return SimpleNamespace(held=held)


async def consumer(program: str) -> asyncio.subprocess.Process:
    """That ran to its end."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    await process.wait()
    return process


async def collect(queue: Any, *consumers: asyncio.subprocess.Process) -> int:
    """How many consumers there are when the queue is empty."""
    started = [*consumers]
    await asyncio.wait_for(events_demo.collect_until(queue, 0, started), SECONDS)
    await asyncio.gather(*(one.wait() for one in started))
    return len(started)


async def test_another_consumer_is_started_when_all_ended_before_the_queue_is_empty(
    queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    empties = f"import pathlib; pathlib.Path({str(queue.held)!r}).write_text('0')"
    monkeypatch.setattr(events_demo, "CONSUMER", [sys.executable, "-c", empties])
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    killed.kill()
    await killed.wait()
    assert await collect(queue, killed, await consumer(NOTHING)) >= 3
    assert queue.held.read_text() == "0"


async def test_no_other_is_started_while_one_is_at_work(queue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_demo, "CONSUMER", ["/no/such/program"])
    empties = f"import pathlib, time; time.sleep(0.2); pathlib.Path({str(queue.held)!r}).write_text('0')"
    at_work = await asyncio.create_subprocess_exec(sys.executable, "-c", empties)
    assert await collect(queue, await consumer(NOTHING), at_work) == 2


async def test_a_consumer_that_fails_ends_the_demo(queue: Any) -> None:
    with pytest.raises(FatalError, match="a consumer failed"):
        await collect(queue, await consumer("raise SystemExit(1)"))
