"""What needs a server of its own: a promotion, and a server without a free replication slot."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import psycopg2

from local.postgres import SETTINGS, PostgresServer, start_postgres
from local.stack import Stack
from millrace.change_logs.postgres_peek import SlotMessages
from millrace.drivers.psycopg_errors import statement
from millrace.drivers.session_settings import begin_reading

DATABASE = "promoted"


def find_origin(server: PostgresServer) -> str:
    with closing(psycopg2.connect(server.url(DATABASE))) as connection, connection.cursor() as cursor:
        cursor.execute(statement("postgres_log_server"), {"publication": "none"})
        return str(cursor.fetchone()[-1])


def copy_a_slot_when_all_are_taken(server: PostgresServer) -> str | None:
    server.execute("SELECT pg_create_logical_replication_slot('log', 'pgoutput')", database=DATABASE)
    free = int(SETTINGS["max_replication_slots"]) - 1
    server.execute(f"SELECT pg_create_physical_replication_slot('taken_' || n) FROM generate_series(1, {free}) AS n")
    with closing(psycopg2.connect(server.url(DATABASE))) as connection, connection.cursor() as cursor:
        begin_reading(connection, "READ COMMITTED")
        name = SlotMessages("log", "none", "0/0", "0/0")._copy_slot(connection)
        cursor.execute("SELECT 'the session is usable'")
    server.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots", database=DATABASE)
    return name


def test_the_timeline_of_a_promoted_server_is_known_before_its_checkpoint(stack: Stack) -> None:
    directory: Path = stack.directory / "promoted"
    server = start_postgres(directory)
    try:
        server.create_database(DATABASE)
        before = find_origin(server)
        assert copy_a_slot_when_all_are_taken(server) is None
        server.stop()
        (directory / "data" / "standby.signal").touch()
        server = start_postgres(directory)
        ((checkpointer,),) = server.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
        os.kill(checkpointer, signal.SIGSTOP)
        try:
            assert server.execute("SELECT pg_promote()") == [(True,)]
            assert server.execute("SELECT timeline_id FROM pg_control_checkpoint()") == [(1,)]
            after = find_origin(server)
        finally:
            os.kill(checkpointer, signal.SIGCONT)
    finally:
        server.stop()
    assert before.split("/")[1:] == ["1", DATABASE]
    assert after.split("/")[1:] == ["2", DATABASE]
