"""PostgreSQL's wire protocol, version 3: messages in both directions, and rows in Redshift's form."""

from __future__ import annotations

import re
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from local.redshift.errors import RedshiftError

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
SERVER_VERSION = "8.0.2"
# Redshift is PostgreSQL 8.0 at heart: it does not tell clients of these.
UNREPORTED = {b"standard_conforming_strings", b"in_hot_standby", b"default_transaction_read_only", b"scram_iterations"}
BYTEA, JSONB, VARBYTE, SUPER = 17, 3802, 6551, 4000
JSON_SPACE = re.compile(rb'("(?:[^"\\]|\\.)*")|([:,]) ')


@dataclass(frozen=True)
class WireMessage:
    """One message: its letter, and the bytes after its length."""

    kind: bytes
    payload: bytes

    def pack(self) -> bytes:
        """Return the bytes to send."""
        return self.kind + struct.pack("!I", len(self.payload) + 4) + self.payload


class Channel:
    """A socket that messages are read from and written to; writes are collected until ``flush``."""

    FLUSH_BYTES = 1 << 18

    def __init__(self, connected: socket.socket) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._reader, self._pending = connected, connected.makefile("rb", 1 << 18), bytearray()

    def exactly(self, size: int) -> bytes:
        """Read so many bytes. Raises ConnectionError if the peer closed the connection."""
        data: bytes = self._reader.read(size)
        if len(data) < size:
            raise ConnectionError("the peer closed the connection")
        return data

    def startup(self) -> bytes:
        """Read the first packet of a connection, which has no letter, and return the bytes after its length."""
        (length,) = struct.unpack("!I", self.exactly(4))
        return self.exactly(length - 4)

    def receive(self) -> WireMessage:
        """Read the next message."""
        kind, length = struct.unpack("!cI", self.exactly(5))
        return WireMessage(kind, self.exactly(length - 4))

    def send(self, message: WireMessage) -> None:
        """Collect a message for sending."""
        self.write(message.pack())

    def write(self, data: bytes) -> None:
        """Collect bytes for sending."""
        self._pending += data
        if len(self._pending) >= self.FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what was collected."""
        self._socket.sendall(self._pending)
        self._pending.clear()

    def close(self) -> None:
        """Close the socket now, also if a thread waits on it."""
        with suppress(OSError):  # the peer may have been faster
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.close()
        self._socket.close()


def startup_packet(parameters: dict[str, str]) -> bytes:
    """Return a StartupMessage of protocol 3.0."""
    body = b"".join(part.encode() + b"\0" for pair in parameters.items() for part in pair) + b"\0"
    return struct.pack("!II", len(body) + 8, 3 << 16) + body


def startup_parameters(packet: bytes) -> dict[str, str]:
    """Return the parameters of a StartupMessage, without its version."""
    parts = [part.decode() for part in packet[4:].split(b"\0")]
    return dict(zip(parts[0::2], parts[1::2], strict=False))


def query(sql: str) -> WireMessage:
    """Return the message of a simple query."""
    return WireMessage(b"Q", sql.encode() + b"\0")


def complete(tag: str) -> WireMessage:
    """Return the message CommandComplete."""
    return WireMessage(b"C", tag.encode() + b"\0")


def ready(status: bytes) -> WireMessage:
    """Return the message ReadyForQuery with the status of the transaction: I, T or E."""
    return WireMessage(b"Z", status)


def _fields(values: dict[str, str]) -> bytes:
    return b"".join(key.encode() + value.encode() + b"\0" for key, value in values.items() if value) + b"\0"


def error_message(error: RedshiftError, severity: str = "ERROR") -> WireMessage:
    """Return the message ErrorResponse, with the rule as HINT."""
    return WireMessage(
        b"E", _fields({"S": severity, "C": error.sqlstate, "M": error.message, "D": error.detail, "H": error.hint})
    )


def notice_message(text: str) -> WireMessage:
    """Return a NoticeResponse of severity INFO, as Redshift sends it after COPY."""
    return WireMessage(b"N", _fields({"S": "INFO", "C": "00000", "M": text}))


def fields_of(payload: bytes) -> dict[str, str]:
    """Return the fields of an ErrorResponse or NoticeResponse by their letters."""
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in payload.split(b"\0") if part}


def columns_of(payload: bytes) -> list[tuple[str, int, int]]:
    """Return name, type id and type modifier of each column in a RowDescription."""
    found, position = [], 2
    for _ in range(struct.unpack_from("!H", payload)[0]):
        end = payload.index(b"\0", position)
        _, _, type_id, _, modifier, _ = struct.unpack_from("!IHIhih", payload, end + 1)
        found.append((payload[position:end].decode(), type_id, modifier))
        position = end + 19
    return found


def values_of(payload: bytes) -> list[bytes | None]:
    """Return the values of a DataRow."""
    values: list[bytes | None] = []
    position = 2
    for _ in range(struct.unpack_from("!H", payload)[0]):
        (length,) = struct.unpack_from("!i", payload, position)
        position += 4
        values.append(None if length < 0 else payload[position : position + length])
        position += max(length, 0)
    return values


def _data_row(values: list[bytes | None]) -> WireMessage:
    parts = [struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value for value in values]
    return WireMessage(b"D", struct.pack("!H", len(values)) + b"".join(parts))


class RowTranslator:
    """Turns PostgreSQL's rows into Redshift's: VARBYTE as hexadecimal, SUPER as compact JSON text."""

    def __init__(self, description: WireMessage) -> None:
        self._converted = {
            index: type_id
            for index, (_, type_id, _) in enumerate(columns_of(description.payload))
            if type_id in (BYTEA, JSONB)
        }
        self.description = self._translate(description)

    def _translate(self, description: WireMessage) -> WireMessage:
        payload, position = bytearray(description.payload), 2
        for index in range(struct.unpack_from("!H", payload)[0]):
            end = payload.index(b"\0", position)
            if index in self._converted:
                new_type = VARBYTE if self._converted[index] == BYTEA else SUPER
                struct.pack_into("!I", payload, end + 7, new_type)
            position = end + 19
        return WireMessage(b"T", bytes(payload))

    def row(self, row: WireMessage) -> WireMessage:
        """Return one DataRow, translated."""
        if not self._converted:
            return row
        values = values_of(row.payload)
        for index, type_id in self._converted.items():
            value = values[index]
            if value is not None:
                values[index] = value[2:] if type_id == BYTEA else JSON_SPACE.sub(rb"\1\2", value)
        return _data_row(values)
