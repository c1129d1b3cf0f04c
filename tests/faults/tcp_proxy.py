"""A TCP proxy that cuts a connection once it has carried so many bytes: a line that breaks in the middle.

It is a process of its own, since psycopg2 keeps Python's lock while it asks a server to cancel: nothing in its own
process could carry that question.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.managers import BaseManager
from typing import Any
from urllib.parse import urlsplit

from tests.faults.processes import CONTEXT

BLOCK_BYTES = 4096


class Line:
    """Listens on a port of 127.0.0.1 in front of a URL's server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.cut_after(0, 0)
        threading.Thread(target=self._accept, daemon=True).start()

    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def carried_bytes(self) -> int:
        """Both ways, on all connections, since the last call of ``cut_after``."""
        return self._carried_bytes

    def cuts(self) -> int:
        """How often a connection was cut since the last call of ``cut_after``."""
        return self._cuts

    def cut_after(self, size_bytes: int, times: int = 1) -> None:
        """From now on, cut the connection that carries this byte of all that is carried, so many times over."""
        with self._lock:
            self._size_bytes = self._left_bytes = size_bytes
            self._cuts_left, self._cuts, self._carried_bytes = times, 0, 0

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while (block := source.recv(BLOCK_BYTES)) and not self._is_cut(len(block)):
                sink.sendall(block)
        for side in (source, sink):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _is_cut(self, size_bytes: int) -> bool:
        with self._lock:
            self._carried_bytes += size_bytes
            self._left_bytes -= size_bytes
            if not self._cuts_left or self._left_bytes > 0:
                return False
            self._cuts, self._cuts_left, self._left_bytes = self._cuts + 1, self._cuts_left - 1, self._size_bytes
            return True


class _Lines(BaseManager):
    """The process in which a line lives."""


_Lines.register("Line", Line)


@contextmanager
def line_to(url: str) -> Iterator[Any]:
    """A ``Line`` to the URL's server, whose methods are called in its process."""
    with _Lines(ctx=CONTEXT) as lines:
        yield lines.Line(url)  # type: ignore[attr-defined] # made at run time
