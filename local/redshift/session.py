"""One client's session: its statements are checked, rewritten and run on its PostgreSQL connection."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, replace

from local.redshift import dml, refusals, statements
from local.redshift.backend import Backend, ignore
from local.redshift.catalog import StandInCatalog
from local.redshift.copy import Copy, LoadError
from local.redshift.copy_statement import parse_copy, parse_unload
from local.redshift.errors import (
    FAILED_TRANSACTION,
    NOT_SUPPORTED,
    ConnectionCut,
    RedshiftError,
    unsupported_here,
)
from local.redshift.inject import Fault, Injector
from local.redshift.lexer import Token, split
from local.redshift.rewrites import LastCopy, rewrite
from local.redshift.storage import Storage
from local.redshift.stream import TokenStream
from local.redshift.unload import unload
from local.redshift.wire import (
    CANCEL_REQUEST,
    GSS_REQUEST,
    SERVER_VERSION,
    SSL_REQUEST,
    UNREPORTED,
    Channel,
    WireMessage,
    complete,
    error_message,
    notice_message,
    ready,
    startup_packet,
    startup_parameters,
)

STATEMENT_LIMIT_BYTES = 16_777_216
ISOLATION = {"snapshot": "repeatable read", "serializable": "serializable"}
TRANSACTION_END = ("COMMIT", "END", "ROLLBACK", "ABORT")
TRANSACTION_WORDS = {"BEGIN", "START", *TRANSACTION_END}


@dataclass
class Services:
    """The objects that all sessions of one stand-in share."""

    backend_address: tuple[str, int]
    database: str
    catalog: StandInCatalog
    storage: Storage
    injector: Injector
    isolation: str = "snapshot"


class Session:
    """A client's connection from its first byte to its last."""

    def __init__(self, connected: socket.socket, services: Services) -> None:
        self.services, self.client = services, Channel(connected)
        self.backend: Backend | None = None
        self.last_copy = LastCopy()
        self._copy_before = LastCopy()
        self._has_cursor = False

    def run(self) -> None:
        """Serve the client until it leaves, then close both connections."""
        try:
            if self._start():
                self._serve()
        except (ConnectionCut, OSError):
            pass  # whoever left, the other side is closed now: PostgreSQL rolls back
        finally:
            self.client.close()
            if self.backend:
                self.backend.close()

    def _start(self) -> bool:
        packet = self.client.startup()
        while (code := int.from_bytes(packet[:4], "big")) in (SSL_REQUEST, GSS_REQUEST):
            self.client.write(b"N")
            self.client.flush()
            packet = self.client.startup()
        if code == CANCEL_REQUEST:
            self._forward_cancel(packet)
            return False
        return self._log_in(startup_parameters(packet))

    def _forward_cancel(self, packet: bytes) -> None:
        with socket.create_connection(self.services.backend_address) as backend:
            backend.sendall((len(packet) + 4).to_bytes(4, "big") + packet)

    def _log_in(self, parameters: dict[str, str]) -> bool:
        database = parameters.get("database") or parameters["user"]
        if database != self.services.database:
            self._send_fatal(RedshiftError("3D000", f'database "{database}" does not exist in the stand-in'))
            return False
        self.backend = Backend(self.services.backend_address, is_serializable=self.services.isolation == "serializable")
        settings = {
            "default_transaction_isolation": ISOLATION[self.services.isolation],
            "standard_conforming_strings": "off",
            "escape_string_warning": "off",
            "TimeZone": "UTC",
            "DateStyle": "ISO, MDY",
        }
        kept = {
            name: parameters[name] for name in ("user", "application_name", "client_encoding") if name in parameters
        }
        self.backend.channel.write(startup_packet(kept | {"database": database} | settings))
        return self._relay_authentication(self.backend)

    def _relay_authentication(self, backend: Backend) -> bool:
        """Pass the messages of the password check between client and PostgreSQL, so that PostgreSQL decides."""
        while True:
            backend.channel.flush()
            message = backend.receive()
            self._send_startup(message)
            if message.kind in (b"E", b"Z"):
                self.client.flush()
                return message.kind == b"Z"
            # SASLFinal (12) and AuthenticationOk (0) ask nothing of the client.
            if message.kind == b"R" and int.from_bytes(message.payload[:4], "big") not in (0, 12):
                self.client.flush()
                backend.channel.send(self.client.receive())

    def _send_startup(self, message: WireMessage) -> None:
        if message.kind == b"S":
            name = message.payload.split(b"\0")[0]
            if name in UNREPORTED:
                return
            if name == b"server_version":
                message = WireMessage(b"S", name + b"\0" + SERVER_VERSION.encode() + b"\0")
        self.client.send(message)

    def _send_fatal(self, error: RedshiftError) -> None:
        self.client.send(error_message(error, "FATAL"))
        self.client.flush()

    def _serve(self) -> None:
        while (message := self.client.receive()).kind != b"X":
            if message.kind == b"Q":
                self._query(message.payload[:-1])
            else:
                self._refuse_extended_protocol(message)
            self.client.send(ready(self._backend.status))
            self.client.flush()

    @property
    def _backend(self) -> Backend:
        if self.backend is None:
            raise ConnectionCut
        return self.backend

    def _refuse_extended_protocol(self, message: WireMessage) -> None:
        self._fail(unsupported_here("the extended query protocol (use the simple one, as psycopg2 does)"))
        self.client.flush()
        while message.kind not in (b"S", b"F"):
            message = self.client.receive()

    def _fail(self, error: RedshiftError) -> None:
        self.client.send(error_message(error))
        self._backend.fail_transaction()

    def _query(self, text: bytes) -> None:
        try:
            if len(text) > STATEMENT_LIMIT_BYTES:
                raise RedshiftError("54001", "Statement is too large", rule="an SQL statement holds at most 16 MB")
            parts = split(text.decode())
        except UnicodeDecodeError as error:
            self._fail(RedshiftError("22021", f"invalid byte sequence for encoding UTF8: {error.reason}"))
            return
        except RedshiftError as error:
            self._fail(error)
            return
        if not parts:
            self.client.send(WireMessage(b"I", b""))
        self._statements(parts)

    def _statements(self, parts: list[list[Token]]) -> None:
        """Run the statements of one message in one transaction, unless they say otherwise."""
        backend = self._backend
        alone = backend.status != b"I" or len(parts) < 2 or any(part[0].key in TRANSACTION_WORDS for part in parts)
        if not alone:
            backend.execute("BEGIN")
        succeeded = all(self._statement(part) for part in parts)
        if not alone and backend.status != b"I":
            backend.run("COMMIT" if succeeded else "ROLLBACK", ignore)

    def _statement(self, statement: list[Token]) -> bool:
        try:
            return self._judge(statement)
        except RedshiftError as error:
            self._fail(error)
            return False

    def _judge(self, statement: list[Token]) -> bool:
        verb = dml.main_verb(statement)
        if verb == "STANDIN":
            return self._control(statement)
        if self._backend.status == b"E" and verb not in TRANSACTION_END:
            raise RedshiftError(
                FAILED_TRANSACTION, "current transaction is aborted, commands ignored until end of transaction block"
            )
        refusals.check(statement)
        fault = self.services.injector.strike("commit" if verb == "END" else verb.lower())
        if fault and fault.action == "close_after":
            self._dispatch(verb, statement, None)
            raise ConnectionCut
        if fault and fault.action != "close_after_rows":
            self._strike(fault, verb)
        return self._dispatch(verb, statement, fault)

    def _strike(self, fault: Fault, verb: str) -> None:
        if fault.action == "close":
            raise ConnectionCut
        if fault.action == "sleep":
            time.sleep(float(fault.argument))
            return
        if verb in ("COMMIT", "END"):
            # A COMMIT that fails leaves no transaction behind.
            self._backend.run("ROLLBACK", ignore)
        raise fault.error()

    def _control(self, statement: list[Token]) -> bool:
        stream = TokenStream(statement)
        stream.expect("STANDIN")
        if stream.accept("RESET"):
            self.services.injector.reset()
        elif stream.accept("DISCARD"):
            self._backend.execute("DISCARD ALL")
            self.last_copy, self._copy_before, self._has_cursor = LastCopy(), LastCopy(), False
        else:
            stream.expect("INJECT")
            self.services.injector.add(stream.string())
        self.client.send(complete("STANDIN"))
        return True

    def _dispatch(self, verb: str, statement: list[Token], fault: Fault | None) -> bool:
        if verb == "COPY":
            return self._copy(statement, int(fault.argument) if fault else None)
        if verb == "UNLOAD":
            return self._unload(statement)
        if verb == "DECLARE":
            self._refuse_second_cursor()
        rewritten = rewrite(statement, self.last_copy)
        *before, answered = statements.for_postgres(verb, rewritten, in_transaction=self._backend.status == b"T")
        for sql in before:
            self._backend.execute(sql)
        self.services.catalog.ensure_domains(answered)
        was_in_transaction = self._backend.status == b"T"
        succeeded = self._backend.run(answered, self.client.send)
        if succeeded:
            for sql in statements.note_design(statement):
                self._backend.execute(sql)
        self._note_end(verb, committed=succeeded and was_in_transaction)
        if verb == "TRUNCATE" and succeeded and self._backend.status == b"T":
            self._backend.execute("COMMIT")
        return succeeded

    def _refuse_second_cursor(self) -> None:
        """AWS, DECLARE: a session has one cursor open at a time."""
        if self._has_cursor:
            raise RedshiftError(
                NOT_SUPPORTED,
                "cursor already open: only one cursor may be open in a session",
                rule="DECLARE: one cursor per session",
            )

    def _note_end(self, verb: str, *, committed: bool) -> None:
        """Open or close the cursor, and forget what was copied and rolled back (AWS, "PG_LAST_COPY_ID")."""
        if verb in ("DECLARE", "CLOSE"):
            self._has_cursor = verb == "DECLARE" and committed
        if self._backend.status != b"I" or verb not in TRANSACTION_END:
            return
        self._has_cursor = False
        if not (committed and verb in ("COMMIT", "END")):
            self._restore_copy()
        self._copy_before = replace(self.last_copy)

    def _restore_copy(self) -> None:
        self.last_copy.copy_id, self.last_copy.row_count = self._copy_before.copy_id, self._copy_before.row_count

    def _copy(self, statement: list[Token], cut_after_rows: int | None) -> bool:
        backend, catalog = self._backend, self.services.catalog
        copy = Copy(parse_copy(statement), backend, self.services.storage, cut_after_rows=cut_after_rows)
        self.last_copy.query_id = copy_id = catalog.next_query_id()
        try:
            row_count = copy.run()
        except LoadError as failure:
            catalog.record(copy_id, copy.table_id, failure)
            raise failure.error(copy_id) from failure
        self.last_copy.copy_id, self.last_copy.row_count = copy_id, row_count
        if self._backend.status == b"I":
            self._copy_before = replace(self.last_copy)
        table = copy.statement.table.replace('"', "")
        told = f"Load into table '{table}' completed, {copy.row_count} record(s) loaded successfully."
        self.client.send(notice_message(told))
        self.client.send(complete("COPY"))
        return True

    def _unload(self, statement: list[Token]) -> bool:
        parsed = parse_unload(statement)
        inner = split(parsed.query)
        if len(inner) != 1 or dml.main_verb(inner[0]) != "SELECT":
            raise RedshiftError(NOT_SUPPORTED, "UNLOAD takes one SELECT", rule="UNLOAD ('select-statement')")
        refusals.check(inner[0])
        (query,) = statements.for_postgres("SELECT", rewrite(inner[0], self.last_copy), in_transaction=True)
        self.last_copy.query_id = self.services.catalog.next_query_id()
        rows = unload(parsed, query, self._backend, self.services.storage)
        self.client.send(notice_message(f"UNLOAD completed, {rows} record(s) unloaded successfully."))
        self.client.send(complete("UNLOAD"))
        return True
