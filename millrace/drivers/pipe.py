"""Rows that a driver hands out as blocks of bytes, cut at row ends, while the server goes on sending.

A thread of the driver's fills a short queue, so that reading and decoding overlap.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress

CHUNK_BYTES = 4 * 1024 * 1024
"""A size in bytes. Larger chunks cost memory and gain no speed: 2, 4 and 8 MiB read a million rows in the same time."""
CHUNKS_AHEAD = 2
"""The driver receives more while those that wait, and the one that the caller works on, are less than so many chunks:
while the caller works on a large one, which a row of megabytes makes, no other is in memory."""
RESET = struct.pack("ii", 1, 0)
"""A value of SO_LINGER: a connection that is closed with it is reset.

Without it a server that waits to send more may wait another minute with its transaction open, because the window that
it was told last stays closed (measured on Linux).
"""


def read_in_thread(
    send: Callable[[Pipe], None], line: Callable[[], int | None], chunk_bytes: int
) -> Generator[bytes, None, None]:
    """Yield what ``send`` writes, in chunks of about ``chunk_bytes``; raise what ``send`` raises.

    ``line`` returns the file descriptor of the connection, None if it is closed. A caller that stops before the end
    cuts the connection, because to cancel the statement would wait for a server that may not answer any more. The
    connection cannot be used after that.
    """
    pipe = Pipe(chunk_bytes)
    reader = threading.Thread(target=pipe.fill, args=(send,), name="pipe", daemon=True)
    reader.start()
    try:
        yield from pipe
    except GeneratorExit:
        pipe.abandon(line())
        raise
    finally:
        reader.join()


class Pipe:
    """The file that a driver writes into and the iterator of chunks that comes out of it."""

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes = chunk_bytes
        self._queue: deque[bytes | BaseException | None] = deque()
        self._moved = threading.Condition()
        self._taken_bytes = 0
        self._rows: list[bytes] = []
        self._size_bytes = 0
        self._abandoned = False

    def write(self, rows: bytes) -> int:
        """Take one row or several, with their line ends. Wait while the queue is full."""
        self._rows.append(rows)
        self._size_bytes += len(rows)
        if self._size_bytes >= self._chunk_bytes:
            self._flush()
        return len(rows)

    def fill(self, send: Callable[[Pipe], None]) -> None:
        """Let the driver write. What it raises is passed to the caller's thread through the queue."""
        try:
            send(self)
            self._flush()
            self._put(None)
        except BaseException as error:
            self._put(error)

    def abandon(self, descriptor: int | None) -> None:
        """Stop a driver whose caller has stopped, by cutting its connection.

        The server learns of it when the driver closes the connection.
        """
        with self._moved:
            self._abandoned = True
            self._queue.clear()
            self._moved.notify_all()
        if descriptor is not None:
            with socket.socket(fileno=os.dup(descriptor)) as line, suppress(OSError):
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                line.shutdown(socket.SHUT_RDWR)

    def __iter__(self) -> Iterator[bytes]:
        # No variable keeps a chunk alive that the caller has let go.
        return iter(self._take, None)

    def _take(self) -> bytes | None:
        with self._moved:
            self._taken_bytes = 0
            self._moved.notify_all()
            self._moved.wait_for(lambda: self._queue)
            item = self._queue.popleft()
            self._taken_bytes = _size_bytes(item)
        if isinstance(item, BaseException):
            raise item
        return item

    def _put(self, item: bytes | BaseException | None) -> None:
        with self._moved:
            self._queue.append(item)
            self._moved.notify_all()
            # Before the driver receives more.
            self._moved.wait_for(lambda: self._abandoned or self._has_room())

    def _has_room(self) -> bool:
        return self._taken_bytes + sum(map(_size_bytes, self._queue)) < CHUNKS_AHEAD * self._chunk_bytes

    def _flush(self) -> None:
        chunk = b"".join(self._rows)
        self._rows, self._size_bytes = [], 0
        if chunk and not self._abandoned:
            self._put(chunk)


def _size_bytes(item: bytes | BaseException | None) -> int:
    return len(item) if isinstance(item, bytes) else 0
