"""Databases that tests use one after the other, emptied in between.

A new database in which four sessions make ten tables costs 60 ms of CPU, one that is emptied afterwards 18 ms
(2026-11-30). A database that is not as it was when it was new is dropped: altered settings, an altered owner, and all
that belongs to no schema (publications, extensions, large objects, …).
What does not belong here: connections that stay open (support/connections.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from psycopg2 import sql

from local.postgres import PostgresServer

ONLY_CATALOGS = "SET search_path = pg_catalog;"
"""Tests shadow functions and catalogs."""
MOST_USES = 40
"""Of one database. What was dropped stays in its catalogs until they are vacuumed, and makes them slow."""

EMPTY = f"""
{ONLY_CATALOGS}
DO $$
DECLARE name text;
BEGIN
    PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
        AND backend_type = 'client backend';
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
    LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    CREATE SCHEMA public AUTHORIZATION pg_database_owner;
    GRANT USAGE ON SCHEMA public TO PUBLIC;
END $$
"""

OUTSIDE_OF_SCHEMAS = (
    *("pg_publication", "pg_subscription", "pg_event_trigger", "pg_extension", "pg_language", "pg_cast"),
    *("pg_foreign_data_wrapper", "pg_foreign_server", "pg_user_mapping", "pg_largeobject_metadata", "pg_default_acl"),
)
"""Catalogs of objects that a dropped schema may leave."""

WHAT_REMAINS = f"""
{ONLY_CATALOGS}
SELECT
    (SELECT to_jsonb(d) - 'datfrozenxid' - 'datminmxid' FROM pg_database d WHERE datname = current_database()),
    (SELECT to_jsonb(a) FROM pg_authid a WHERE rolname = current_database()),
    ARRAY(SELECT to_jsonb(m) FROM pg_auth_members m JOIN pg_authid a ON a.oid IN (m.member, m.roleid)
        WHERE rolname = current_database() ORDER BY m.oid),
    ARRAY(SELECT to_jsonb(s) FROM pg_db_role_setting s
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
            OR setrole = (SELECT oid FROM pg_authid WHERE rolname = current_database())),
    (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()),
    (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())),
    {", ".join(f"ARRAY(SELECT oid FROM {catalog} ORDER BY oid)" for catalog in OUTSIDE_OF_SCHEMAS)}
"""
"""What ``EMPTY`` leaves as it is."""
ACCEPTS_LOGINS = sql.SQL("SELECT 1 FROM pg_catalog.pg_database WHERE datname = {} AND datallowconn")


@dataclass
class _Database:
    name: str
    when_new: object
    uses: int = 0


@dataclass
class EmptyDatabases:
    """Lends databases of a server, one test at a time."""

    postgres: PostgresServer
    names: set[str]
    """Names of the databases that are there are added to these."""
    _idle: list[_Database] = field(default_factory=list)

    @contextmanager
    def lend(self) -> Iterator[str]:
        """Provide the owner's URL of an empty database; its owner has its name."""
        database = self._idle.pop() if self._idle else self._create()
        try:
            yield self.postgres.url(database.name, user=database.name)
        finally:
            self._take_back(database)

    def _create(self) -> _Database:
        name = f"database_{secrets.token_hex(4)}"
        self.postgres.create_database(name)
        self.names.add(name)
        return _Database(name, self._what_remains(name))

    def _take_back(self, database: _Database) -> None:
        database.uses += 1
        if database.uses < MOST_USES and self._is_as_new(database):
            self._idle.append(database)
        else:
            self.names.discard(database.name)
            self.postgres.drop_database(database.name)

    def _is_as_new(self, database: _Database) -> bool:
        if not self.postgres.execute(ACCEPTS_LOGINS.format(sql.Literal(database.name))):
            return False
        self.postgres.execute(EMPTY, database=database.name)
        return self._what_remains(database.name) == database.when_new

    def _what_remains(self, name: str) -> object:
        return self.postgres.execute(WHAT_REMAINS, database=name)
