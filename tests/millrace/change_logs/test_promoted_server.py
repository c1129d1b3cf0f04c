"""A server that was promoted has another log from that moment on, also before its first checkpoint."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import psycopg2

from local.postgres import PostgresServer, start_postgres
from local.stack import Stack
from millrace.drivers.psycopg_errors import statement

DATABASE = "promoted"


def find_origin(server: PostgresServer) -> str:
    with closing(psycopg2.connect(server.url(DATABASE))) as connection, connection.cursor() as cursor:
        cursor.execute(statement("postgres_log_server"), {"publication": "none"})
        return str(cursor.fetchone()[-1])


def test_the_timeline_of_a_promoted_server_is_known_before_its_checkpoint(stack: Stack) -> None:
    directory: Path = stack.directory / "promoted"
    server = start_postgres(directory)
    try:
        server.create_database(DATABASE)
        before = find_origin(server)
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
