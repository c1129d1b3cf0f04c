"""The database `totesys` on the stack's PostgreSQL: one role writes as a back office does, one reads."""

from __future__ import annotations

from local.postgres import PostgresServer
from millrace.base.sql_files import SQL_FILES

DATABASE = "totesys"
WRITER, READER = "totesys_writer", "totesys_reader"
GRANTS_SQL = SQL_FILES / "totesys" / "grants.sql"

# The sample data has a clock of its own (sql/totesys/clock.sql), by which the reader tells the time.
SIMULATED_CLOCK = f"ALTER ROLE {READER} IN DATABASE {{}} SET millrace.clock = 'simulation.now'"


def install(postgres: PostgresServer, database: str = DATABASE) -> None:
    """Make database and roles where they are missing, and grant what sql/totesys/grants.sql says."""
    postgres.create_database(database, owner=WRITER)
    postgres.create_role(READER)
    grants = GRANTS_SQL.read_text(encoding="utf-8").replace(f"ON DATABASE {DATABASE} ", f"ON DATABASE {database} ")
    postgres.execute(grants, database=database)
    postgres.execute(SIMULATED_CLOCK.format(database), database=database)
