"""The database `stock_db` on the stack's MySQL: one user writes it as a stock platform does, one reads it.

The sample data has its own clock (sql/stocks/clock.sql). Sessions of users who are not administrators use that clock.
"""

from __future__ import annotations

from local.mysql import MySQLServer
from millrace.base.errors import ConfigurationError
from millrace.seed_data.stocks.script import SUFFIX, statements

DATABASE = "stock_db"
WRITER, READER = "stock_writer", "stock_reader"

# It runs at each login. An error in it would keep everyone out, so it has none: where there is no clock, or no right
# to ask it, the session has the real time. SET would wait for the event that the platform is about to commit, since it
# locks what it reads; SELECT does not.
SIMULATED_CLOCK = f"""
SET GLOBAL init_connect = "BEGIN NOT ATOMIC
    DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
    EXECUTE IMMEDIATE CONCAT('SELECT `', REPLACE(DATABASE(), '`', '``'), '{SUFFIX}`.`now`() INTO @simulated_now');
    SET @@timestamp = @simulated_now;
END"
"""


def install(mysql: MySQLServer, database: str = DATABASE, writer: str = WRITER, reader: str = READER) -> None:
    """Create missing database and users with the rights of sql/stocks, and install the clock.

    Raises ConfigurationError if the server is not MariaDB: MySQL has no blocks outside of procedures.
    """
    [(version,)] = mysql.execute("SELECT VERSION()")
    if "mariadb" not in version.lower():
        raise ConfigurationError(
            "the simulated clock needs MariaDB", place=f"MySQL {version}", remedy="leave MYSQL_URL unset"
        )
    simulation = f"{database}{SUFFIX}"
    mysql.create_database(database, owner=writer)
    mysql.create_user(writer, simulation, rights=("ALL PRIVILEGES",), sees_transactions=False)
    mysql.create_user(reader, simulation, rights=("EXECUTE",), sees_transactions=False)
    for statement in statements("reader"):
        mysql.execute(statement.replace("stock\\_db", database.replace("_", "\\_")).replace("stock_reader", reader))
    mysql.execute(SIMULATED_CLOCK)
