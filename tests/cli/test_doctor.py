"""`millrace doctor` on real servers: all is ok, and each fault by itself is told with what fixes it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prefect.settings import PREFECT_API_URL, temporary_settings
from pymongo import MongoClient
from typer.testing import CliRunner

from local import mysql as mysql_server
from local import pgbouncer, postgres
from local.mysql import MySQLServer
from local.postgres import start_postgres
from local.prefect_server import PrefectServer
from local.stack import Stack
from millrace.base.errors import Unreachable
from millrace.checks import tables
from millrace.checks.server import Server
from millrace.cli.main import application
from tests.conftest import unique
from tests.flows.inbox import Inbox
from tests.saved_blocks import save_blocks
from tests.support.replicas import start_replica, until

PIPELINE = """
from millrace import Incremental, Pipeline, Stream

pipeline = Pipeline(
    name="clinic",
    streams=[
        Stream("visits", "postgres:public.visits", "id", Incremental("changed")),
        Stream("notes", "mongo:{mongo}.notes", "_id", Incremental("changed")),
    ],
)
"""
TABLES_ONLY = PIPELINE.replace('        Stream("notes", "mongo:{mongo}.notes", "_id", Incremental("changed")),\n', "")
WANTED = (
    *("SOURCE_POSTGRES_URL", "SOURCE_MONGO_URL", "WAREHOUSE_URL", "WAREHOUSE_IAM_ROLE"),
    *("LANDING_BUCKET", "PROCESSED_BUCKET", "SOURCE_SQS_EVENTS_URL"),
)
SECRET = "s3cr3t-W0rd"
OTHER_ROLE = "arn:aws:iam::210987654321:role/millrace-prod-warehouse"
CLUSTER = "acme.abc123.eu-west-1.redshift.amazonaws.com"
WORKGROUP = "acme.123456789012.eu-west-1.redshift-serverless.amazonaws.com"
Outcomes = dict[str, dict[str, Any]]


@pytest.fixture
def places(stack: Stack, environment: dict[str, str], mongo_database: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables that describe the places of a pipeline, all of which are as a run needs them."""
    owner = environment["SOURCE_POSTGRES_URL"].rpartition("/")[2]
    table = "CREATE TABLE visits (id int PRIMARY KEY, changed timestamptz)"
    stack.postgres.execute(table, database=owner)
    stack.postgres.execute(f"ALTER TABLE visits OWNER TO {owner}", database=owner)
    with MongoClient[dict[str, Any]](stack.mongo.url) as client:
        client[mongo_database].notes.insert_one({"changed": datetime.now(UTC)})
    (tmp_path / "clinic.py").write_text(PIPELINE.format(mongo=mongo_database))
    variables = {name: environment[name] for name in WANTED} | stack.aws.environment()
    yield variables | {"PIPELINE": str(tmp_path / "clinic.py")}


def examine(variables: dict[str, str], exit_code: int = 1) -> Outcomes:
    """What ``millrace doctor`` says, by place and name of the check."""
    named = os.environ.keys() & {name for name in os.environ if name.startswith(("SOURCE_", "WAREHOUSE_"))}
    arguments = ["doctor", "--json", "--pipeline", variables["PIPELINE"]]
    with temporary_settings({PREFECT_API_URL: variables.get("PREFECT_API_URL", "http://127.0.0.1:9/api")}):
        done = CliRunner().invoke(application, arguments, env=dict.fromkeys(named) | variables)
    assert done.exit_code == exit_code, done.output + repr(done.exception)
    assert SECRET not in done.output
    return {f"{one['place']}: {one['name']}": one for one in json.loads(done.stdout)}


def wrong(outcomes: Outcomes) -> set[str]:
    """Names of what is wrong, apart from Prefect, which these tests leave out."""
    return {name for name, one in outcomes.items() if one["result"] == "wrong" and one["place"] != "prefect"}


def tables_only(variables: dict[str, str], url: str) -> dict[str, str]:
    """The variables with another source, for a pipeline of tables alone."""
    path = Path(variables["PIPELINE"]).with_name("tables.py")
    path.write_text(TABLES_ONLY)
    kept = {name: value for name, value in variables.items() if name not in ("SOURCE_MONGO_URL",)}
    return kept | {"SOURCE_POSTGRES_URL": url, "PIPELINE": str(path)}


async def test_where_all_is_well_every_line_is_ok(places: dict[str, str], prefect_server: PrefectServer) -> None:
    await save_blocks(places)
    outcomes = examine(places | {"PREFECT_API_URL": prefect_server.api_url}, exit_code=0)
    assert {one["result"] for one in outcomes.values()} == {"ok"}
    assert outcomes["source-postgres: login"]["found"].startswith("PostgreSQL 18")
    assert outcomes["source-postgres: replica"]["found"] == "the primary"
    assert outcomes["warehouse: copy"]["found"].startswith("one row was copied by arn:aws:iam::")
    assert outcomes["prefect: blocks"]["found"].endswith("blocks can be loaded")


def test_without_prefect_the_rest_is_checked_all_the_same(places: dict[str, str]) -> None:
    outcomes = examine(places)
    assert wrong(outcomes) == set()
    assert outcomes["prefect: api"]["result"] == "wrong"
    assert outcomes["prefect: blocks"]["result"] == "skipped"
    assert "PREFECT_API_URL" in outcomes["prefect: api"]["remedy"]


def test_for_people_it_prints_a_line_for_each_check_and_counts(places: dict[str, str]) -> None:
    url = f"postgresql://reader:{SECRET}@nowhere.invalid/bank"
    variables = places | {"SOURCE_POSTGRES_URL": url}
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        done = CliRunner().invoke(application, ["doctor", "--pipeline", places["PIPELINE"]], env=variables)
    lines = done.output.splitlines()
    assert any(line.startswith("ok       warehouse: copy") for line in lines)
    assert any(line.startswith("skipped  source-postgres: login") for line in lines)
    assert lines[-1].endswith(" wrong.")
    assert SECRET not in done.output


def test_a_wrong_password_names_the_variable_and_the_command(places: dict[str, str], stack: Stack) -> None:
    user = places["SOURCE_POSTGRES_URL"].rpartition("/")[2]
    url = stack.postgres.url(user, user=user, password=SECRET)
    outcomes = examine(places | {"SOURCE_POSTGRES_URL": url})
    assert wrong(outcomes) == {"source-postgres: login"}
    remedy = outcomes["source-postgres: login"]["remedy"]
    assert "correct user and password in SOURCE_POSTGRES_URL" in remedy
    assert "python -m infra.deploy up --env NAME --set-secrets" in remedy
    assert outcomes["source-postgres: tables"]["result"] == "skipped"


def test_a_closed_port_is_told_from_one_that_answers_nothing(
    places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://reader:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/bank"
        outcomes = examine(places | {"SOURCE_POSTGRES_URL": url})
    assert wrong(outcomes) == {"source-postgres: address"}
    assert "refuses the connection" in outcomes["source-postgres: address"]["found"]
    assert outcomes["source-postgres: login"]["result"] == "skipped"


def test_a_port_that_drops_packets_names_the_command_that_lets_the_tasks_in(
    places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full backlog answers as a security group does: not at all."""
    monkeypatch.setattr("millrace.checks.server.TIMEOUT_SECONDS", 0.5)
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(address)
        monkeypatch.setattr(
            "socket.getaddrinfo", lambda *_a, **_k: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]
        )
        host = "bank.c9.eu-west-1.rds.amazonaws.com"
        server = Server("source-postgres", "SOURCE_POSTGRES_URL", ((host, 5432),), "reader", "postgres")
        with pytest.raises(Unreachable, match="does not answer within") as raised:
            server.checks()[0].run()
    assert "aws ec2 authorize-security-group-ingress" in raised.value.remedy
    assert "--port 5432 --source-group SECURITY_GROUP_OF_TASKS" in raised.value.remedy


def test_a_name_that_nobody_knows(places: dict[str, str]) -> None:
    outcomes = examine(places | {"SOURCE_POSTGRES_URL": f"postgresql://reader:{SECRET}@nowhere.invalid/bank"})
    assert "the name nowhere.invalid is not known here" in outcomes["source-postgres: address"]["found"]


def test_a_url_that_is_wrong_hides_no_other_check(places: dict[str, str]) -> None:
    outcomes = examine(places | {"SOURCE_POSTGRES_URL": f"oracle://reader:{SECRET}@db/bank"})
    assert wrong(outcomes) == {"source-postgres: URL"}
    assert outcomes["warehouse: copy"]["result"] == "ok"


def test_a_missing_variable_is_named(places: dict[str, str]) -> None:
    outcomes = examine({name: value for name, value in places.items() if name != "SOURCE_MONGO_URL"})
    assert outcomes["environment: variables"]["found"] == "SOURCE_MONGO_URL is not set"


VALID, EXPIRED = datetime(2036, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)


def write_certificate(directory: Path, valid_until: datetime) -> tuple[Path, Path]:
    """A key, and a certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bank.example.com")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(valid_until)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = directory / "server.key", directory / "server.crt"
    for path, content in zip(files, (private, builder.sign(key, hashes.SHA256()).public_bytes(pem)), strict=True):
        path.write_bytes(content)
        path.chmod(0o600)
        if os.getuid() == 0:
            shutil.chown(path, postgres.UNPRIVILEGED_USER)
    return files


@contextmanager
def tls_postgres(stack: Stack, url: str, valid_until: datetime) -> Iterator[str]:
    """The URL of a PgBouncer with TLS before that server, which has none."""
    directory = stack.directory / unique("tls")
    directory.mkdir(mode=0o755)
    key, certificate = write_certificate(directory, valid_until)
    tls = f"client_tls_sslmode = require\nclient_tls_key_file = {key}\nclient_tls_cert_file = {certificate}\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pgbouncer, "CONFIGURATION", pgbouncer.CONFIGURATION + tls)
        server = pgbouncer.start_pgbouncer(directory / "pgbouncer", url, "session")
    # Python's own user reads it, as the driver does.
    shutil.copy(certificate, directory / "authority.crt")
    with server:
        yield f"{server.url}?sslmode=verify-ca&sslrootcert={directory}/authority.crt"


def test_a_certificate_is_read_and_one_that_expired_is_told(places: dict[str, str], stack: Stack) -> None:
    plain = places["SOURCE_POSTGRES_URL"]
    with tls_postgres(stack, plain, VALID) as url:
        outcomes = examine(tables_only(places, url))
        assert wrong(outcomes) == set()
        assert outcomes["source-postgres: certificate"]["found"].startswith(
            "valid until 2036-01-01 00:00 UTC, issued by"
        )
    with tls_postgres(stack, plain, EXPIRED) as url:
        outcomes = examine(tables_only(places, url))
    assert wrong(outcomes) == {"source-postgres: certificate", "source-postgres: login"}
    assert "expired at 2021-01-01 00:00 UTC" in outcomes["source-postgres: certificate"]["found"]
    assert "new certificate" in outcomes["source-postgres: certificate"]["remedy"]


def test_an_expired_certificate_of_mysql_is_told(places: dict[str, str], stack: Stack) -> None:
    directory = stack.directory / unique("tls")
    directory.mkdir(mode=0o755)
    key, certificate = write_certificate(directory, EXPIRED)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(mysql_server.URL_VARIABLE, raising=False)
        patch.setitem(mysql_server.SETTINGS, "ssl-key", str(key))
        patch.setitem(mysql_server.SETTINGS, "ssl-cert", str(certificate))
        server = mysql_server.start_mysql(directory / "server")
    try:
        url = server.create_database("shop")
        outcomes = examine(places | {"SOURCE_MYSQL_URL": f"{url}?ssl_mode=verify_ca&ssl_ca={certificate}"})
    finally:
        server.stop()
    assert wrong(outcomes) == {"source-mysql: certificate", "source-mysql: login"}
    assert "expired at 2021-01-01 00:00 UTC" in outcomes["source-mysql: certificate"]["found"]


def test_a_lagging_replica_is_told_with_its_lag(
    places: dict[str, str], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = stack.directory / unique("replicas")
    directory.mkdir(mode=0o755)
    primary, replica = start_postgres(directory / "primary"), None
    try:
        primary.execute("CREATE TABLE visits (id int PRIMARY KEY, changed timestamptz)")
        replica = start_replica(primary, directory)
        monkeypatch.setattr(tables, "LAG_LIMIT", timedelta(seconds=1))
        ((reached,),) = primary.execute("SELECT pg_current_wal_flush_lsn()")
        until(lambda: replica.execute(f"SELECT pg_last_wal_replay_lsn() >= '{reached}'") == [(True,)])
        time.sleep(1.5)
        outcomes = examine(tables_only(places, replica.url()))
        assert wrong(outcomes) == set(), "it has all that the primary wrote, however long ago that was"
        assert outcomes["source-postgres: replica"]["found"] == "a replica, 0:00:00 behind its primary"
        replica.execute("SELECT pg_wal_replay_pause()")
        primary.execute("INSERT INTO visits VALUES (1)")
        until(lambda: "source-postgres: replica" in wrong(examine(tables_only(places, replica.url()))))
        remedy = examine(tables_only(places, replica.url()))["source-postgres: replica"]["remedy"]
        assert "name the primary's host in SOURCE_POSTGRES_URL" in remedy
    finally:
        for server in filter(None, (replica, primary)):
            server.stop()


def test_missing_rights_are_told_as_the_statements_that_grant_them(places: dict[str, str], stack: Stack) -> None:
    database, reader = places["SOURCE_POSTGRES_URL"].rpartition("/")[2], unique("reader")
    stack.postgres.create_role(reader)
    stack.postgres.execute(f"GRANT CONNECT ON DATABASE {database} TO {reader}", database=database)
    url = stack.postgres.url(database, user=reader)
    outcomes = examine(tables_only(places, url))
    assert wrong(outcomes) == {"source-postgres: tables", "source-postgres: transactions"}
    statements = {
        outcomes["source-postgres: tables"]["remedy"]: f'GRANT SELECT ON "public"."visits" TO {reader}',
        outcomes["source-postgres: transactions"]["remedy"]: f"GRANT pg_read_all_stats TO {reader}",
    }
    for remedy, statement in statements.items():
        assert remedy == f"`{statement}`"
        stack.postgres.execute(statement, database=database)
    assert wrong(examine(tables_only(places, url))) == set()


def test_missing_rights_in_the_warehouse(places: dict[str, str], stack: Stack) -> None:
    revoke = f"REVOKE CREATE, TEMPORARY ON DATABASE {stack.warehouse.database} FROM millrace_loader, PUBLIC"
    stack.postgres.execute(revoke, database=stack.warehouse.database)
    outcomes = examine(places)
    assert {"warehouse: rights", "warehouse: copy"} == wrong(outcomes)
    remedy = outcomes["warehouse: rights"]["remedy"]
    assert 'GRANT TEMPORARY ON DATABASE "warehouse" TO millrace_loader' in remedy
    assert 'GRANT CREATE ON DATABASE "warehouse" TO millrace_loader' in remedy
    stack.warehouse.clear()
    assert wrong(examine(places)) == set()


def test_a_role_that_the_cluster_does_not_have_is_told_with_the_command(places: dict[str, str]) -> None:
    outcomes = examine(places | {"WAREHOUSE_IAM_ROLE": OTHER_ROLE})
    assert wrong(outcomes) == {"warehouse: copy"}
    assert f"not authorized to assume IAM Role {OTHER_ROLE}" in outcomes["warehouse: copy"]["found"]
    remedy = outcomes["warehouse: copy"]["remedy"]
    assert f"aws redshift modify-cluster-iam-roles --cluster-identifier CLUSTER --add-iam-roles {OTHER_ROLE}" in remedy


@pytest.mark.parametrize("host", [CLUSTER, WORKGROUP])
def test_a_warehouse_in_another_region_than_the_bucket_is_told(places: dict[str, str], host: str) -> None:
    outcomes = examine(places | {"WAREHOUSE_URL": f"redshift://loader:{SECRET}@{host}:5439/warehouse"})
    assert "the warehouse is in eu-west-1 and the bucket in us-east-1" in outcomes["warehouse: region"]["found"]
    assert 'region = "eu-west-1"' in outcomes["warehouse: region"]["remedy"]


def test_a_bucket_and_a_queue_that_are_not_there(places: dict[str, str]) -> None:
    gone = {"LANDING_BUCKET": "millrace-gone", "SOURCE_SQS_EVENTS_URL": f"{places['SOURCE_SQS_EVENTS_URL']}-gone"}
    outcomes = examine(places | gone)
    assert {"landing: bucket", "source-sqs-events: queue"} <= wrong(outcomes)
    assert outcomes["landing: write"]["result"] == "skipped"


def test_a_topic_without_a_subscriber_is_told(places: dict[str, str], stack: Stack) -> None:
    arn = stack.aws.client("sns").create_topic(Name=unique("alerts"))["TopicArn"]
    outcomes = examine(places | {"ALERT_TOPIC_ARN": arn})
    assert wrong(outcomes) == {"alerts: topic"}
    assert "aws sns subscribe --topic-arn" in outcomes["alerts: topic"]["remedy"]
    assert wrong(examine(places | {"ALERT_TOPIC_ARN": Inbox.open(stack, arn).topic_arn})) == set()


def test_a_mysql_source_is_checked_as_well(places: dict[str, str], mysql: MySQLServer, mysql_database: str) -> None:
    database = mysql_database.rpartition("/")[2]
    mysql.execute("CREATE TABLE visits (id int PRIMARY KEY, changed timestamp(6))", database=database)
    path = Path(places["PIPELINE"]).with_name("mysql.py")
    path.write_text(TABLES_ONLY.replace("postgres:public", f"mysql:{database}"))
    mysql.execute(f"CREATE USER {database}_reader IDENTIFIED BY '{SECRET}'")
    url = mysql.url(database, user=f"{database}_reader", password=SECRET)
    outcomes = examine(places | {"SOURCE_MYSQL_URL": url, "PIPELINE": str(path)})
    assert wrong(outcomes) == {"source-mysql: login"}
    mysql.execute(f"GRANT SELECT ON {database}.* TO {database}_reader")
    outcomes = examine(places | {"SOURCE_MYSQL_URL": url, "PIPELINE": str(path)})
    assert wrong(outcomes) == {"source-mysql: transactions"}
    mysql.execute(outcomes["source-mysql: transactions"]["remedy"].strip("`"))
    assert wrong(examine(places | {"SOURCE_MYSQL_URL": url, "PIPELINE": str(path)})) == set()
