"""The events of the log of MySQL and MariaDB (binlog), by the protocol of replication on a connection of PyMySQL.

The format is that of "Binary Log Event" in the documentation of MySQL's source code, and of "Replication Protocol" in
MariaDB's. Why no library reads it: docs/decisions/0024-change-logs.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator
from struct import Struct
from typing import Any, NamedTuple

from pymysql.constants import COMMAND

from millrace.base.errors import FatalError

FIRST_EVENT = 4
"""Where the first event of a file begins."""
FURTHEST_BEGIN = 2**32 - 1
"""The last byte of a file at which a reader may begin."""
ROTATE, FORMAT = 4, 15
_HEADER = Struct("<IBIIIH")
"""Second, kind, server, size, the last four bytes of the end, flags."""
_REQUEST = Struct("<IHI")
_ENDS_AT_THE_END = 1
_MADE_UP = 0x20
"""The flag of events that the server makes up for the reader, and that are in no file."""
_CHECKSUM_BYTES, _CRC32 = 4, 1


class LogEvent(NamedTuple):
    """An event of the log, without header and checksum."""

    kind: int
    file: str
    begin: int
    """Where it begins in the file."""
    end: int
    """Where it ends."""
    second: int
    """When it was written, in seconds since 1970. Of a change: when its statement began."""
    server: int
    """The ``server_id`` of the server where the change was made."""
    flags: int
    body: bytes
    checksum: int
    """CRC-32 of header and body; 0: the file has none."""


def stream_events(connection: Any, reader: int, file: str, begin: int) -> Generator[LogEvent, None, None]:
    """Yield the events of the log from a position to its present end, through all files that follow.

    ``reader`` is the number by which the server knows the reader: it ends the reading of an earlier one with the same
    number. The connection cannot be used any more afterwards. Raises the errors of PyMySQL, and FatalError for an event
    that does not fit its checksum.
    """
    with connection.cursor() as cursor:
        # The server sends events as they are in its files only to readers that know about checksums. The second name
        # is that of MySQL since 8.0.26.
        cursor.execute("SET @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32'")
        # MariaDB would put others in the place of events that older replicas do not know, such as those of GTIDs.
        cursor.execute("SET @mariadb_slave_capability = 4")
    connection._execute_command(COMMAND.COM_BINLOG_DUMP, _REQUEST.pack(begin, _ENDS_AT_THE_END, reader) + file.encode())
    has_checksums = True
    while not (packet := connection._read_packet()).is_eof_packet():
        data = packet.get_all_data()[1:]
        second, kind, server, size, end, flags = _HEADER.unpack_from(data)
        if kind == FORMAT:
            # It says of itself and of all that follow whether they have a checksum, and has room for one anyway.
            has_checksums = data[-_CHECKSUM_BYTES - 1] == _CRC32
        if not end or flags & _MADE_UP:
            if kind == ROTATE:
                begin, file = _parse_rotate(data)
            continue
        # The server leaves out some events. Of positions beyond 4 GB it tells the last four bytes.
        begin += (end - size - begin) & FURTHEST_BEGIN
        checksum = int.from_bytes(data[-_CHECKSUM_BYTES:], "little") if has_checksums else 0
        if has_checksums and zlib.crc32(memoryview(data)[:-_CHECKSUM_BYTES]) != checksum:
            raise FatalError(
                f"the event of the change log at {file}:{begin} does not fit its checksum",
                place="source",
                remedy="look whether the disk of the server is sound; then purge the log up to the next file and run "
                "again: the tables are compared as a whole",
            )
        body = data[_HEADER.size : -_CHECKSUM_BYTES] if has_checksums else data[_HEADER.size :]
        yield LogEvent(kind, file, begin, begin + size, second, server, flags, body, checksum)
        begin += size


def _parse_rotate(data: bytes) -> tuple[int, str]:
    """Return where the reading goes on: a position, and the file. Some servers give this event a checksum."""
    has_checksum = zlib.crc32(data[:-_CHECKSUM_BYTES]) == int.from_bytes(data[-_CHECKSUM_BYTES:], "little")
    body = data[_HEADER.size : -_CHECKSUM_BYTES] if has_checksum else data[_HEADER.size :]
    return int.from_bytes(body[:8], "little"), body[8:].decode()
