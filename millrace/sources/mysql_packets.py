"""Read the rows of a query of one column as blocks of bytes, from PyMySQL's connection.

Its own cursor makes a row of each in Python, which takes five times as long. The protocol of a row is stable since
MySQL 4.1: packets of 3 bytes of length and 1 of number, in each a length and so many bytes.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import IO, Any

import pymysql
from pymysql.constants import CR
from pymysql.cursors import SSCursor

RECEIVED_BYTES = 256 * 1024
HEADER_BYTES = 4
PART_BYTES = 0xFFFFFF
"""A packet of this length is continued by the next one."""
NULL, END, ERROR = 0xFB, 0xFE, 0xFF
PREFIX_BYTES = {0xFC: 3, 0xFD: 4, END: 9}
"""How many bytes the length of a value takes, by its first byte; 1 for all smaller first bytes."""


def read_rows(connection: Any, query: str, block_bytes: int) -> Generator[bytes, None, None]:
    """Yield the values of the rows, one after the other, in blocks as they arrive.

    No block is much larger than ``block_bytes`` or one value. Raises the errors of PyMySQL, and ValueError for a NULL.

    The connection cannot be used any more if its rows are not read to the end.
    """
    with connection.cursor(SSCursor) as cursor:
        cursor.execute(query)
        try:
            yield from _read_blocks(connection._rfile, min(block_bytes, RECEIVED_BYTES))
        finally:
            # The cursor would read them to the end.
            cursor._result.unbuffered_active = False


def _read_blocks(stream: IO[bytes], block_bytes: int) -> Generator[bytes, None, None]:
    buffer, is_over = bytearray(), False
    while not is_over:
        buffer += _receive(stream, block_bytes)
        values, used, is_over = _values(buffer)
        del buffer[:used]
        yield b"".join(values)


def _receive(stream: Any, block_bytes: int) -> bytes:
    try:
        received: bytes = stream.read1(block_bytes)
    except OSError as error:
        raise pymysql.OperationalError(CR.CR_SERVER_LOST, f"Lost connection to MySQL server ({error})") from None
    if not received:
        raise pymysql.OperationalError(CR.CR_SERVER_LOST, "Lost connection to MySQL server during query")
    return received


def _values(buffer: bytearray) -> tuple[list[bytes | bytearray], int, bool]:
    """Return the values of all packets that have arrived, their length in bytes, and whether the last was the end."""
    values: list[bytes | bytearray] = []
    start, end = 0, len(buffer)
    while end - start > HEADER_BYTES:
        size = buffer[start] | buffer[start + 1] << 8 | buffer[start + 2] << 16
        begin, following = start + HEADER_BYTES, start + HEADER_BYTES + size
        if following > end:
            break
        first = buffer[begin]
        if first < NULL:
            values.append(buffer[begin + 1 : following])
        elif size == PART_BYTES:
            following, value = _in_parts(buffer, start, PREFIX_BYTES[first])
            if value is None:
                break
            values.append(value)
        elif first in PREFIX_BYTES and first != END:
            values.append(buffer[begin + PREFIX_BYTES[first] : following])
        else:
            _check_end(buffer[begin:following])
            return values, following, True
        start = following
    return values, start, False


def _in_parts(buffer: bytearray, start: int, prefix_bytes: int) -> tuple[int, bytes | None]:
    """Return where the packets of one row end, and the value in them; None if the last packet has not arrived."""
    parts, size = [], PART_BYTES
    while size == PART_BYTES:
        begin, size = start + HEADER_BYTES, int.from_bytes(buffer[start : start + 3], "little")
        start = begin + size
        if max(begin, start) > len(buffer):
            return start, None
        parts.append(slice(begin + prefix_bytes, start))
        prefix_bytes = 0
    with memoryview(buffer) as view:
        return start, b"".join([view[part] for part in parts])


def _check_end(packet: bytearray) -> None:
    if packet[0] == ERROR:
        pymysql.err.raise_mysql_exception(bytes(packet))
    if packet[0] == NULL:
        raise ValueError("a value is NULL")
