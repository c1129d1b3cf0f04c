"""TLS out of the box: who answers is verified, by the right authorities, unless the URL says less. On real servers."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from local.processes import LOCALHOST
from local.stack import Stack
from millrace.base.errors import ConfigurationError, Unreachable
from millrace.blocks.databases import DATABASES
from millrace.blocks.mongo import MongoDB
from millrace.blocks.mysql import mysql_connector
from millrace.blocks.sql import opener, postgres_connector, warehouse_connector
from millrace.declaration.source_kinds import SOURCE_KINDS
from millrace.drivers import authorities
from millrace.drivers.psycopg_errors import database_errors
from millrace.drivers.pymysql_errors import mysql_errors
from tests.support.certificates import Authority, make_authority
from tests.support.tls_servers import TlsServer, start_tls_server

HOST, OTHER_HOST = "db.millrace.test", "other.millrace.test"
RDS_HOST = "bank.c1abc.eu-west-1.rds.amazonaws.com"
KINDS = ("postgres", "mysql", "mongo")


@dataclass(frozen=True)
class Served:
    """A server with a certificate for ``HOST`` and ``RDS_HOST``."""

    server: TlsServer
    authority: Authority

    async def connect(self, host: str, query: str = "") -> None:
        """Connect as the engine does, and ask one thing."""
        url = self.server.url(host, query)
        if self.server.kind == "mongo":
            await MongoDB(url=SecretStr(url), server_selection_timeout_seconds=1.5).check()
        else:
            await asyncio.to_thread(_ask, self.server.kind, url)


def _ask(kind: str, url: str) -> None:
    make, errors = (mysql_connector, mysql_errors) if kind == "mysql" else (postgres_connector, database_errors)
    connect = opener(make(url, place="URL"))
    with errors("source"), closing(connect()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("SELECT 1")


@pytest.fixture(scope="module", params=KINDS)
def served(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Served]:
    """Each kind of server in turn."""
    directory = stack.directory / f"tls-{request.param}"
    authority = make_authority(stack.directory / f"tls-{request.param}.pem")
    server = start_tls_server(request.param, directory, *authority.sign(HOST, RDS_HOST), stack)
    yield Served(server, authority)
    server.stop()


@pytest.fixture(autouse=True)
def names_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of these tests lead to this machine; the URL of Postgres says so itself."""
    find = socket.getaddrinfo

    def found(host: Any, *arguments: Any, **options: Any) -> Any:
        return find(LOCALHOST if host in {HOST, OTHER_HOST, RDS_HOST} else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.delenv(authorities.SYSTEM_VARIABLE, raising=False)
    authorities.tell_unverified.cache_clear()


@pytest.fixture
def trusted(served: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The authority of the server is one of the system's."""
    monkeypatch.setenv(authorities.SYSTEM_VARIABLE, str(served.authority.path))
    return served


async def test_a_server_is_verified_without_a_word_in_its_url(trusted: Served) -> None:
    await trusted.connect(HOST)


async def test_the_wrong_name_is_refused(trusted: Served) -> None:
    with pytest.raises(ConfigurationError, match=r"by the name that the certificate is for"):
        await trusted.connect(OTHER_HOST)


async def test_an_authority_that_the_system_does_not_know_is_refused(served: Served) -> None:
    remedy = r"certificate verify failed.*Remedy: name the authority that signed the server's certificate in (ssl|tls)"
    with pytest.raises(ConfigurationError, match=rf"(?i){remedy}"):
        await served.connect(HOST)


async def test_an_expired_certificate_is_refused(trusted: Served) -> None:
    trusted.server.show(*trusted.authority.sign(HOST, days=-2))
    try:
        with pytest.raises(ConfigurationError, match=r"(?i)certificate verify failed.*Remedy: name the authority"):
            await trusted.connect(HOST)
    finally:
        trusted.server.show(*trusted.authority.sign(HOST, RDS_HOST))
    await trusted.connect(HOST)


async def test_for_a_host_of_rds_only_the_authorities_of_aws_count(trusted: Served) -> None:
    with pytest.raises(ConfigurationError, match=r"(?i)certificate verify failed"):
        await trusted.connect(RDS_HOST)


async def test_the_url_may_name_the_authority(served: Served) -> None:
    option = {"postgres": "sslrootcert", "mysql": "ssl_ca", "mongo": "tlsCAFile"}[served.server.kind]
    await served.connect(RDS_HOST, f"{option}={served.authority.path}")


async def test_what_asks_for_less_is_told_once(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    less = {"postgres": "sslmode=require", "mysql": "ssl_mode=required", "mongo": "tlsInsecure=true"}
    for _ in range(3):
        await served.connect(OTHER_HOST, less[served.server.kind])
    (told,) = [record.getMessage() for record in caplog.records if record.name == authorities.__name__]
    assert told.startswith(f"Connections to {OTHER_HOST} do not verify the server, because the URL says ")


async def test_a_server_without_tls_is_refused_unless_the_url_allows_it(stack: Stack) -> None:
    for url, remedy in (
        (f"postgresql://u:p@{HOST}:{stack.postgres.port}/d?hostaddr={LOCALHOST}", "write sslmode=disable"),
        (f"mongodb://{HOST}:{stack.mongo.port}/?directConnection=true", "tls=false"),
    ):
        kind = SOURCE_KINDS["postgres" if url.startswith("postgres") else "mongo"]
        with pytest.raises((ConfigurationError, Unreachable), match=remedy):
            await _open(kind, url)
    block = MongoDB(url=SecretStr(f"mongodb://{HOST}:{stack.mongo.port}/?directConnection=true&tls=false"))
    await block.check()


async def _open(kind: Any, url: str) -> None:
    if kind.name == "mongo":
        await MongoDB(url=SecretStr(url), server_selection_timeout_seconds=1).check()
        return
    block = DATABASES[kind].block.make(url, place="URL")
    async with DATABASES[kind].open(block, "source") as source:
        of_tables: Any = source
        await asyncio.to_thread(of_tables._connect)


def test_sslrootcert_system_means_the_systems_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq in psycopg2's wheel has no authorities of its own to find."""
    found = _arguments("postgresql://u:p@db.example.com/d?sslmode=verify-full&sslrootcert=system", monkeypatch)
    assert Path(found["sslrootcert"]).is_file()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redshift://u:p@c.x1.eu-west-1.redshift.amazonaws.com:5439/d", ("verify-full", "aws")),
        ("redshift://u:p@w.1.eu-west-1.redshift-serverless.amazonaws.com/d", ("verify-full", "aws")),
        ("redshift://u:p@warehouse.example.com/d", ("verify-full", "system")),
        ("redshift://u:p@127.0.0.1/d", ("prefer", None)),
        ("redshift://u:p@c.x1.eu-west-1.redshift.amazonaws.com/d?sslmode=require", ("require", None)),
        ("postgresql://u:p@b.proxy-1.eu-west-1.rds.amazonaws.com/d?sslmode=verify-ca", ("verify-ca", "aws")),
        ("postgresql://u:p@localhost/d", ("prefer", None)),
        ("postgresql://u:p@[::1]/d?sslmode=disable", ("disable", None)),
    ],
    ids=str,
)
def test_which_authorities_a_warehouse_is_verified_with(
    url: str, expected: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {str(authorities.AWS_AUTHORITIES): "aws", authorities.system_authorities(): "system", None: None}
    found = _arguments(url, monkeypatch)
    assert (found["sslmode"], files[found.get("sslrootcert")]) == expected


def _arguments(url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the driver is given."""
    found: dict[str, Any] = {}
    monkeypatch.setattr("psycopg2.connect", lambda *_, **arguments: found.update(arguments))
    opener(warehouse_connector(url, place="URL"))()
    return found


def test_the_authorities_of_aws_are_those_that_were_pinned_and_hold_for_years() -> None:
    content = authorities.AWS_AUTHORITIES.read_bytes()
    assert hashlib.sha256(content).hexdigest() == authorities.AWS_AUTHORITIES_SHA256
    found = authorities.aws_authorities()
    assert {
        "Amazon Root CA 1",
        "Amazon RDS eu-west-1 Root CA RSA2048 G1",
        "Amazon RDS us-east-1 Root CA ECC384 G1",
    } <= {one.name for one in found}
    assert content.count(b"BEGIN CERTIFICATE") == len(found)
    assert found[0].until > datetime.now(UTC) + timedelta(days=365), "take a newer bundle"


def test_only_what_is_a_path_here_or_named_counts_as_this_machine() -> None:
    near = ("127.0.0.1", "127.8.0.1", "::1", "localhost", "LOCALHOST", "/var/run/postgresql")
    far = ("10.0.0.1", "localhost.example.com", "db", "", "rds.amazonaws.com")
    assert [authorities.is_on_this_machine(host) for host in near + far] == [True] * len(near) + [False] * len(far)
