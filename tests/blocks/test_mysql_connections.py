"""Connections to MySQL and MariaDB: what a URL means to the driver, and that secrets are stored as secrets."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pymysql
import pytest
from prefect.client.orchestration import get_client
from prefect_sqlalchemy import SqlAlchemyConnector

from local.mysql import MySQLServer
from local.prefect_server import PrefectServer
from local.stack import Stack
from millrace.base.errors import ConfigurationError, FatalError, MillraceError
from millrace.blocks.load import load_source_mysql
from millrace.blocks.mysql import SOURCE_STATEMENT_TIMEOUT_SECONDS, mysql_connector
from millrace.blocks.sql import driver_of, opener
from millrace.drivers.pymysql_errors import mysql_errors

SECRET = "s3cr3t-W0rd"


def unconnected(url: str) -> Any:
    """The driver's connection, with everything that SQLAlchemy and the block hand it, before it connects."""
    connector = mysql_connector(url, place="SOURCE_MYSQL_URL")
    engine = connector.get_engine()
    _, arguments = engine.dialect.create_connect_args(engine.url)
    return pymysql.connect(**(arguments | connector.connect_args), defer_connect=True)


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql"])
def test_every_spelling_means_the_one_driver(scheme: str) -> None:
    connector = mysql_connector(f"{scheme}://u:p@h/d?connect_timeout=3&charset=latin1", place="SOURCE_MYSQL_URL")
    assert driver_of(connector) == "mysql+pymysql"
    assert connector.connection_info.query == {"connect_timeout": "3"}
    assert "connect_timeout" not in connector.connect_args
    assert connector.connect_args["charset"] == "utf8mb4"


@pytest.mark.parametrize(
    ("place", "is_required", "is_verified", "is_named"),
    [
        ("db.example.com/d", True, True, True),
        ("10.0.0.5/d", True, True, True),
        ("localhost.example.com/d", True, True, True),
        ("db.example.com/d?ssl_mode=VERIFY_CA", True, True, False),
        ("db.example.com/d?ssl-mode=REQUIRED", True, False, False),
        ("db.example.com/d?ssl_mode=preferred", False, False, False),
        ("127.0.0.1/d", False, False, False),
        ("[::1]/d", False, False, False),
        ("localhost/d", False, False, False),
        ("127.0.0.1/d?ssl_mode=verify_identity", True, True, True),
    ],
)
def test_tls_is_verified_unless_the_url_says_otherwise_or_it_is_this_machine(
    place: str, is_required: bool, is_verified: bool, is_named: bool
) -> None:
    """``is_required``: a server without TLS is refused; ``is_named``: its certificate must be that of the host."""
    connection = unconnected(f"mysql://reader:{SECRET}@{place}")
    assert connection.ssl
    assert connection._ssl_required == is_required
    assert (connection.ctx.verify_mode == ssl.CERT_REQUIRED) == is_verified
    assert connection.ctx.check_hostname == is_named
    assert connection.ctx.cert_store_stats()["x509_ca"] > 0


def test_tls_can_be_disabled_in_words_only() -> None:
    assert not unconnected("mysql://u:p@db.example.com/d?ssl_mode=disabled").ssl
    with pytest.raises(ConfigurationError, match=r"SOURCE_MYSQL_URL.*TLS.*ssl_mode \(disabled, preferred"):
        unconnected("mysql://u:p@db.example.com/d?ssl_disabled=false")


@pytest.mark.parametrize("content", ["", None])
def test_a_named_authority_must_be_there_and_is_the_only_one(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    problem = "stream price.*Remedy: see that the files of ssl_ca"
    with pytest.raises(ConfigurationError, match=problem), mysql_errors("stream price"):
        unconnected(f"mysql://u:p@127.0.0.1/d?ssl_ca={path}")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"postgresql://u:{SECRET}@h/d", "begins with postgresql://"),
        (f"mysql://u:{SECRET}@h/d?conect_timeout=3&charset=utf8", "knows no option conect_timeout"),
        (f"mysql://u:{SECRET}@h/d?connect_timeout={SECRET}", "value of another type"),
        (f"mysql+asyncmy://u:{SECRET}@h/d", r"begins with mysql\+asyncmy://"),
        (f"mysql://u:{SECRET}@h:port/d", "not a database URL"),
        (f"mysql://u:{SECRET}@h", "no host or no database"),
        (f"mysql:///d?user=u&x={SECRET}", "no host or no database"),
        (f"mysql://u@h/d?password={SECRET}", "behind the question mark"),
        (f"mysql://u@h/d?passwd={SECRET}", "behind the question mark"),
        (f"mysql://u:p@h/d?ssl_key=k.pem&ssl_key_password={SECRET}", "behind the question mark"),
        (f"mysql://u:{SECRET}@h/d?ssl_mode=verify-full", "TLS is not understood"),
        (f"mysql://u:{SECRET}@h/d?ssl_verify_cert=false", "TLS is not understood"),
        (f"mysql://u:{SECRET}@h/d?tls=true", "TLS is not understood"),
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"SOURCE_MYSQL_SHOP_URL.*{problem}.*Remedy") as raised:
        mysql_connector(url, place="SOURCE_MYSQL_SHOP_URL")
    assert SECRET not in str(raised.value)


async def test_a_document_holds_the_password_encrypted(prefect_server: PrefectServer, stack: Stack) -> None:
    url = f"mysql://reader:{SECRET}@db.example.com:3306/shop?ssl_ca=/etc/ssl/rds.pem&ssl_cert=c&ssl_key=k"
    await mysql_connector(url, place="test").asave("source-mysql-old-shop", overwrite=True)
    rows = stack.postgres.execute("SELECT block_document::text FROM block_document", database="prefect")
    assert any("source-mysql-old-shop" in row for (row,) in rows)
    assert not any(SECRET in row for (row,) in rows)
    stored = ("source-mysql-old-shop", "sqlalchemy-connector")
    async with get_client() as client:
        shown = await client.read_block_document_by_name(*stored, include_secrets=False)
    assert SECRET not in shown.model_dump_json()
    assert shown.data["connection_info"]["username"] == "reader"
    loaded: SqlAlchemyConnector = await load_source_mysql("old-shop")
    assert loaded.connection_info.password.get_secret_value() == SECRET
    assert {name: loaded.connect_args[name] for name in ("ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_identity")} == {
        "ssl_ca": "/etc/ssl/rds.pem",
        "ssl_cert": "c",
        "ssl_key": "k",
        "ssl_verify_identity": True,
    }


def test_a_server_ends_statements_after_half_an_hour_and_speaks_utf8(mysql: MySQLServer) -> None:
    connection = opener(mysql_connector(mysql.url("mysql"), place="test"))()
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW VARIABLES WHERE variable_name IN ('max_statement_time', 'max_execution_time')")
        ((name, limit),) = cursor.fetchall()
        assert float(limit) == SOURCE_STATEMENT_TIMEOUT_SECONDS * (1000 if name == "max_execution_time" else 1)
        cursor.execute("SELECT '𝄞', @@character_set_client")
        assert cursor.fetchone() == ("𝄞", "utf8mb4")


def test_a_server_that_cannot_show_who_it_is_gets_no_password(mysql: MySQLServer) -> None:
    connect = opener(mysql_connector(f"{mysql.url('mysql')}?ssl_mode=verify_identity", place="test"))
    problem = r"stream price: .*(VERIFY_FAILED|SSL is required).*Remedy: name .*ssl_ca"
    with pytest.raises(ConfigurationError, match=problem), mysql_errors("stream price"):
        connect()


def test_an_opened_connection_is_ones_own(mysql: MySQLServer) -> None:
    connect = opener(mysql_connector(mysql.url("mysql"), place="test"))
    first, second = connect(), connect()
    identifiers = {first.thread_id(), second.thread_id()}
    first.close()
    second.close()
    with connect() as third:
        assert len(identifiers | {third.thread_id()}) == 3


CUSTOMERS = (
    "CREATE TABLE customers (id int PRIMARY KEY, name varchar(6), j json, born date)",
    "INSERT INTO customers VALUES (1, 'Smith', NULL, NULL)",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES'",
)
SIGNAL = "BEGIN NOT ATOMIC SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no Smith here', MYSQL_ERRNO = {}; END"


@pytest.mark.parametrize(
    "statement",
    [
        *map(SIGNAL.format, (1644, 1146, 1062, 1142, 1213, 1366, 31000)),
        "INSERT INTO customers (id) VALUES ('Smith')",
        "INSERT INTO customers (id) VALUES ('Smith'' for column ''Smith')",
        "INSERT INTO customers VALUES (1, 'Smith', NULL, NULL)",
        "INSERT INTO customers VALUES (2, 'Smith Smith', NULL, NULL)",
        "INSERT INTO customers VALUES (3, NULL, 'Smith', NULL)",
        "INSERT INTO customers VALUES (4, NULL, NULL, 'Smith')",
        "UPDATE customers SET id = 'Smith' WHERE name = 'Smith'",
        "SELECT * FROM customers WHERE name REGEXP '(Smith'",
        "SELECT ExtractValue('<a/>', 'Smith(')",
        "SELECT Smith(1)",
        "SELECT 'Smith' 'x' y z",
        "SET SESSION max_join_size = 'Smith'",
        "SET SESSION time_zone = 'Smith'",
    ],
)
def test_no_value_is_in_an_error_of_mysql(statement: str, mysql_database: str) -> None:
    connection = opener(mysql_connector(mysql_database, place="test"))()
    with connection, connection.cursor() as cursor:
        for one in CUSTOMERS:
            cursor.execute(one)
        with pytest.raises(MillraceError, match=r"^stream price: .*Remedy") as failure, mysql_errors("stream price"):
            cursor.execute(statement)
    assert "Smith" not in str(failure.value)


def test_the_column_of_a_value_that_does_not_fit_is_told(mysql_database: str) -> None:
    connection = opener(mysql_connector(mysql_database, place="test"))()
    with connection, connection.cursor() as cursor:
        for one in CUSTOMERS:
            cursor.execute(one)
        told = r"a statement failed: Incorrect integer value: '…' for column .*id.* at row 1"
        with pytest.raises(FatalError, match=told), mysql_errors("stream price"):
            cursor.execute("INSERT INTO customers (id) VALUES ('Smith'' for column ''Smith')")
