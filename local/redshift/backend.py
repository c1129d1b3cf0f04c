"""One connection to the PostgreSQL server behind the stand-in; a client's session runs its statements on it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator

from local.redshift.errors import INTERNAL_ERROR, RedshiftError, concurrent_conflict
from local.redshift.wire import Channel, RowTranslator, WireMessage, error_message, fields_of, query, values_of

Sink = Callable[[WireMessage], None]
Row = list[bytes | None]


def ignore(_: WireMessage) -> None:
    """Ignore an answer that nobody waits for."""


class Backend:
    """A connection for one client.

    ``status`` is the state of its transaction: I (no transaction), T (open) or E (failed).
    """

    def __init__(self, address: tuple[str, int], *, is_serializable: bool = False) -> None:
        self.address, self.status, self._is_serializable = address, b"I", is_serializable
        self.channel = Channel(socket.create_connection(address))

    def receive(self) -> WireMessage:
        """Return the next message, and remember the status that a ReadyForQuery tells."""
        message = self.channel.receive()
        if message.kind == b"Z":
            self.status = message.payload
        return message

    def _answers(self, sql: str) -> Iterator[WireMessage]:
        self.channel.send(query(sql))
        self.channel.flush()
        while (message := self.receive()).kind != b"Z":
            yield message

    def run(self, sql: str, sink: Sink) -> bool:
        """Run one statement and pass its answers on, in Redshift's words. Return False if it failed."""
        succeeded, rows = True, None
        for message in self._answers(sql):
            if message.kind == b"T":
                rows = RowTranslator(message)
                sink(rows.description)
            elif message.kind == b"D" and rows is not None:
                sink(rows.row(message))
            elif message.kind == b"E":
                succeeded = False
                sink(error_message(self._translate(message)))
            else:
                sink(message)
        return succeeded

    def stream(self, sql: str) -> Iterator[WireMessage]:
        """Run one statement of the stand-in, and yield its answers one by one. Raises RedshiftError if it fails."""
        failure = None
        for message in self._answers(sql):
            if message.kind == b"E":
                failure = self._translate(message)
            else:
                yield message
        if failure:
            raise failure

    def fetch(self, sql: str) -> list[Row]:
        """Return the rows of a query of the stand-in."""
        return [values_of(message.payload) for message in self.stream(sql) if message.kind == b"D"]

    def execute(self, sql: str) -> None:
        """Run a statement of the stand-in."""
        for _ in self.stream(sql):
            pass

    def fail_transaction(self) -> None:
        """Make an open transaction a failed one, as an error of Redshift's own would."""
        if self.status == b"T":
            self.run("refused_by_the_stand_in", ignore)

    def copy_in(self, sql: str, chunks: Iterable[bytes]) -> None:
        """Run a COPY FROM STDIN with these chunks. What the chunks raise ends the COPY and is raised again."""
        self.channel.send(query(sql))
        self.channel.flush()
        if self.receive().kind == b"G":
            self._send_chunks(chunks)
        self._finish_copy()

    def _send_chunks(self, chunks: Iterable[bytes]) -> None:
        try:
            for chunk in chunks:
                self.channel.send(WireMessage(b"d", chunk))
            self.channel.send(WireMessage(b"c", b""))
        except RedshiftError:
            self.channel.send(WireMessage(b"f", b"refused by the stand-in\0"))
            self.channel.flush()
            while self.receive().kind != b"Z":
                pass
            raise
        self.channel.flush()

    def _finish_copy(self) -> None:
        failure = None
        while (message := self.receive()).kind != b"Z":
            failure = self._translate(message) if message.kind == b"E" else failure
        if failure:
            raise failure

    def _translate(self, message: WireMessage) -> RedshiftError:
        return translate(message, is_serializable=self._is_serializable)

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back by PostgreSQL."""
        self.channel.close()


def translate(message: WireMessage, *, is_serializable: bool) -> RedshiftError:
    """Return an error of PostgreSQL as Redshift reports it."""
    fields = fields_of(message.payload)
    sqlstate, text = fields.get("C", INTERNAL_ERROR), fields.get("M", "")
    if text.startswith("tuple concurrently") or (sqlstate == "23505" and fields.get("s") == "pg_catalog"):
        return concurrent_conflict(text)
    if sqlstate == "23514" and fields.get("n", "").startswith("overflow$"):
        return RedshiftError("22003", "Numeric data overflow", rule="numeric types: DECIMAL(19) is kept in eight bytes")
    if sqlstate == "40001" and not is_serializable:
        return concurrent_conflict(text)
    if sqlstate == "40001":
        detail = f"Serializable isolation violation on table - 0, transactions forming the cycle are: 0, 0 ({text})"
        return RedshiftError(INTERNAL_ERROR, "1023", detail=detail, rule="LOCK the shared table first, or repeat")
    if text.startswith("MERGE command cannot affect row a second time"):
        return RedshiftError(
            INTERNAL_ERROR,
            "Found multiple matches to update the same tuple.",
            rule="MERGE: a target row may match one source row at most",
        )
    if sqlstate == "22P02" and "type json" in text:
        return RedshiftError(INTERNAL_ERROR, "JSON parsing error", detail=fields.get("D", ""))
    return RedshiftError(sqlstate, text, detail=fields.get("D", ""), hint=fields.get("H", ""))
