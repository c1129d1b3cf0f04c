"""Runs a function in a fresh process within a quarter of a second: a run of its own, that may die or be disturbed.

Processes come from a fork server that holds all imports and an S3 client (preload.py), since Polars does not survive
the fork of a process that has used it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from millrace import Stream
from tests.faults.places import Places

AWS_VARIABLE = "MILLRACE_FAULTS_AWS_URL"
TIMEOUT_SECONDS = 120
Tell = Callable[[str], None]
"""Sends a line to the process that waits; the last one counts."""

CONTEXT = multiprocessing.get_context("forkserver")


def start_fork_server(aws_url: str) -> None:
    """Before the first process: the fork server prepares a client of this endpoint."""
    os.environ[AWS_VARIABLE] = aws_url
    CONTEXT.set_forkserver_preload(["tests.faults.preload"])


class Running:
    """A process that calls ``function(tell, *arguments)``."""

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        self._told, telling = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_call, args=(telling, function, *arguments))
        self._process.start()
        telling.close()

    def end(self) -> tuple[int, str]:
        """Wait for it. Its exit code (minus the signal that killed it), and what it told last.

        An exception that left the function was told as its type and text.
        """
        said = ""
        try:
            while self._told.poll(TIMEOUT_SECONDS):
                said = self._told.recv()
        except EOFError:
            self._process.join(TIMEOUT_SECONDS)
        code = self._process.exitcode
        assert code is not None, f"the process hangs; it said {said!r}"
        return code, said


def run(function: Callable[..., None], *arguments: Any) -> tuple[int, str]:
    """Start it and wait for it."""
    return Running(function, *arguments).end()


def deliver(places: Places, stream: Stream, operation: str = "deliver") -> None:
    """For functions that run in such a process: one operation of an engine between these places."""
    asyncio.run(getattr(places.engine(), operation)(stream))


def _call(telling: Connection, function: Callable[..., None], *arguments: Any) -> None:
    try:
        function(telling.send, *arguments)
    except Exception as error:
        traceback.print_exc()
        telling.send(f"{type(error).__name__}: {error}")
        raise SystemExit(1) from None
