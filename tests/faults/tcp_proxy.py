"""A TCP proxy that cuts a connection once it has carried so many bytes: a line that breaks in the middle.

What does not belong here: what is said on the line.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit

BLOCK_BYTES = 4096


class TcpProxy:
    """Listens on ``port`` of 127.0.0.1 in front of a URL's server; a context manager."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._left_bytes, self._cuts_left = 0, 0
        self.carried_bytes = self.cuts = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def cut_after(self, size_bytes: int, times: int = 1) -> None:
        """From now on, all connections together: cut the one that carries this byte, so many times over."""
        with self._lock:
            self._size_bytes = self._left_bytes = size_bytes
            self._cuts_left, self.cuts, self.carried_bytes = times, 0, 0

    def __enter__(self) -> TcpProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()

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
            self.carried_bytes += size_bytes
            self._left_bytes -= size_bytes
            if not self._cuts_left or self._left_bytes > 0:
                return False
            self.cuts, self._cuts_left, self._left_bytes = self.cuts + 1, self._cuts_left - 1, self._size_bytes
            return True
