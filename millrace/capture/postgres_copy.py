"""A COPY out of Postgres as blocks of bytes, cut at row ends, while the server goes on sending.

What does not belong here: what is copied, and what the bytes mean.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any

CHUNK_BYTES = 4 * 1024 * 1024
"""Larger ones cost memory and gain no speed: 2, 4 and 8 MiB read a million rows in the same time."""
QUEUE_CHUNKS = 2


def copied(connection: Any, query: str, chunk_bytes: int) -> Generator[bytes, None, None]:
    """The rows of a query as CSV, in blocks of about ``chunk_bytes``; raises what the driver raises."""
    pipe = _Pipe(chunk_bytes)
    copy = f"COPY ({query}) TO STDOUT (FORMAT csv)"
    reader = threading.Thread(target=pipe.fill, args=(connection, copy), name="copy", daemon=True)
    reader.start()
    try:
        yield from pipe
    except GeneratorExit:
        pipe.abandon(connection)
        raise
    finally:
        reader.join()


class _Pipe:
    """The file that COPY writes into and the iterator of chunks that comes out of it."""

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes = chunk_bytes
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(QUEUE_CHUNKS)
        self._rows: list[bytes] = []
        self._size_bytes = 0
        self._abandoned = False

    def write(self, row: bytes) -> int:
        """Called by psycopg2, once per row."""
        self._rows.append(row)
        self._size_bytes += len(row)
        if self._size_bytes >= self._chunk_bytes:
            self._flush()
        return len(row)

    def fill(self, connection: Any, copy: str) -> None:
        """Run the COPY; its failure travels through the queue to the caller's thread."""
        try:
            with connection.cursor() as cursor:
                cursor.copy_expert(copy, self)
            self._flush()
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)

    def abandon(self, connection: Any) -> None:
        """Stop a COPY whose caller has gone, by cutting its line: to cancel it would wait for a server that may be
        gone too, with Python's lock in hand. The connection is of no use afterwards."""
        self._abandoned = True
        if not connection.closed:
            with socket.socket(fileno=os.dup(connection.fileno())) as line, suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        while not self._queue.empty():
            self._queue.get_nowait()

    def __iter__(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _flush(self) -> None:
        if self._rows and not self._abandoned:
            self._queue.put(b"".join(self._rows))
        self._rows, self._size_bytes = [], 0
