"""Every block saves, loads back equal and hides its secrets; the bootstrap may be repeated."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from pydantic import BaseModel, SecretStr
from sqlalchemy import create_engine, text

from local.prefect_server import PrefectServer
from local.processes import LOCALHOST, free_port
from local.stack import Stack
from millrace.base.errors import ConfigurationError
from millrace.blocks.bootstrap import BLOCK_TYPES, bootstrap
from millrace.blocks.environment import VARIABLES, make_blocks
from millrace.blocks.load import load_landing, load_processed, load_source_mongo, load_source_postgres, load_warehouse
from millrace.blocks.sql import driver_of, opener
from tests.conftest import unique

REPOSITORY = Path(__file__).parents[2]
SECRET = "s3cr3t-W0rd"
DESCRIBED = {
    "SOURCE_POSTGRES_URL": f"postgres://reader:{SECRET}@db.example.com/bank?sslmode=require",
    "SOURCE_POSTGRES_OLD_CORE_URL": f"postgresql://reader:{SECRET}@old.example.com:6432/core",
    "SOURCE_MYSQL_URL": f"mysql://reader:{SECRET}@shop.example.com/shop?ssl_ca=/etc/ssl/rds.pem",
    "SOURCE_MYSQL_STOCKS_URL": f"mariadb://reader:{SECRET}@stocks.example.com:3307/stock_db",
    "SOURCE_MONGO_URL": f"mongodb://reader:{SECRET}@docs.example.com/?tls=true&retryWrites=false",
    "SOURCE_SQS_EVENTS_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/events",
    "SOURCE_SQS_EVENTS_DEAD_LETTER_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/dead",
    "WAREHOUSE_URL": f"redshift://loader:{SECRET}@cluster.example.com:5439/warehouse",
    "WAREHOUSE_IAM_ROLE": "arn:aws:iam::123456789012:role/millrace",
    "WAREHOUSE_STARS_URL": f"postgresql://loader:{SECRET}@stars.example.com/stocks?sslmode=verify-full",
    "LANDING_BUCKET": "acme-landing",
    "PROCESSED_BUCKET": "acme-processed",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
    "AWS_ACCESS_KEY_ID": "123456789012",
    "AWS_SECRET_ACCESS_KEY": SECRET,
}
DOCUMENTS = [
    "aws-credentials/aws",
    "millrace-queue/source-sqs-events",
    "millrace-queue/source-sqs-events-dead-letter",
    "millrace-warehouse/warehouse",
    "millrace-warehouse/warehouse-stars",
    "mongodb/source-mongo",
    "s3-bucket/landing",
    "s3-bucket/processed",
    "sqlalchemy-connector/source-mysql",
    "sqlalchemy-connector/source-mysql-stocks",
    "sqlalchemy-connector/source-postgres",
    "sqlalchemy-connector/source-postgres-old-core",
    "sqlalchemy-connector/warehouse",
    "sqlalchemy-connector/warehouse-stars",
]


def fields(block: Block) -> dict[str, object]:
    return {name: getattr(block, name) for name in type(block).model_fields}


def described() -> list[tuple[str, Block]]:
    return list(make_blocks(DESCRIBED))


def test_the_environment_describes_the_documents() -> None:
    assert sorted(f"{block.get_block_type_slug()}/{name}" for name, block in described()) == DOCUMENTS


def of_each_type_and_driver() -> dict[str, Block]:
    """A block by its type, and of connectors by their driver as well."""
    return {
        f"{block.get_block_type_slug()} {getattr(block, 'connection_info', None) and driver_of(block)}": block
        for _, block in described()
    }


@pytest.mark.parametrize("kind", of_each_type_and_driver())
async def test_a_block_loads_back_equal_and_hides_its_secrets(
    kind: str, prefect_server: PrefectServer, caplog: pytest.LogCaptureFixture
) -> None:
    # Under a name of its own: a saved block also saves the block that it holds, and would go on to refer to that one.
    name, block = unique("equal").replace("_", "-"), of_each_type_and_driver()[kind]
    with caplog.at_level(logging.DEBUG):
        await block.asave(name, overwrite=True)
        loaded: Any = await type(block).aload(name)
    assert reveal(loaded) == reveal(block)
    async with get_client() as client:
        shown = await client.read_block_document_by_name(name, block.get_block_type_slug(), include_secrets=False)
    for text_shown in (repr(block), str(loaded), loaded.model_dump_json(), shown.model_dump_json(), caplog.text):
        assert SECRET not in text_shown


def reveal(value: object) -> object:
    """Fields down to plain values, secrets included."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Block):
        return {name: reveal(field) for name, field in fields(value).items()}
    if isinstance(value, BaseModel):
        return {name: reveal(getattr(value, name)) for name in type(value).model_fields}
    return value


def test_every_secret_is_revealed_to_the_program() -> None:
    assert all(SECRET in repr(reveal(block)) for _, block in described())


async def test_bootstrap_creates_then_leaves_alone_then_updates(prefect_server: PrefectServer) -> None:
    named = {name.replace("_URL", "_ONCE_URL") if "SOURCE" in name else name: DESCRIBED[name] for name in DESCRIBED}
    first, second = await bootstrap(named), await bootstrap(named)
    assert [line.split()[1] for line in first] == [line.split()[1] for line in second]
    assert "created mongodb/source-mongo-once" in first
    assert {line.split()[0] for line in second} == {"unchanged"}
    changed = await bootstrap(named | {"LANDING_BUCKET": "acme-other"})
    assert [line for line in changed if not line.startswith("unchanged")] == ["updated s3-bucket/landing"]


async def test_what_changed_is_updated_and_a_warehouse_refers_to_its_connector(prefect_server: PrefectServer) -> None:
    """An edit of the connector in the UI must reach the warehouse."""
    await bootstrap(DESCRIBED)
    url = DESCRIBED["WAREHOUSE_URL"].replace(SECRET, "another")
    lines = await bootstrap(DESCRIBED | {"WAREHOUSE_URL": url, "WAREHOUSE_IAM_ROLE": "default"})
    assert {line for line in lines if not line.startswith("unchanged")} == {
        "updated sqlalchemy-connector/warehouse",
        "updated millrace-warehouse/warehouse",
    }
    assert (await load_warehouse()).connector.connection_info.password.get_secret_value() == "another"
    async with get_client() as client:
        document = await client.read_block_document_by_name("warehouse", "millrace-warehouse")
        connector = await client.read_block_document_by_name("warehouse", "sqlalchemy-connector")
        known = {block_type.slug for block_type in await client.read_block_types()}
    assert document.block_document_references["connector"]["block_document"]["id"] == str(connector.id)
    assert {block_type.get_block_type_slug() for block_type in BLOCK_TYPES} <= known


async def test_loaded_blocks_work(bootstrapped: dict[str, str]) -> None:
    source, warehouse = await load_source_postgres(), await load_warehouse()
    with source.get_engine().connect() as connection:
        assert connection.execute(text("SHOW application_name")).scalar() == "millrace"
    with warehouse.connector.get_engine().connect() as connection:
        assert "Redshift" in str(connection.exec_driver_sql("SELECT version()").scalar())
    assert warehouse.is_redshift
    assert warehouse.iam_role == bootstrapped["WAREHOUSE_IAM_ROLE"]
    await (await load_source_mongo()).check()
    for store in (await load_landing(), await load_processed()):
        store.put_bytes(b"x", "k")
        assert store.get_bytes("k") == b"x"
    source.get_engine().dispose()
    warehouse.connector.get_engine().dispose()


async def test_an_opened_connection_is_ones_own(bootstrapped: dict[str, str], stack: Stack) -> None:
    connect = opener(await load_source_postgres())
    first, second = connect(), connect()
    assert first is not second
    first.set_session(isolation_level="REPEATABLE READ", readonly=True)
    identifier = first.info.backend_pid
    first.close()
    second.close()
    assert connect().info.backend_pid != identifier


async def test_a_missing_document_names_the_remedy(prefect_server: PrefectServer) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlalchemy-connector/source-postgres-ghost.*blocks\.bootstrap"):
        await load_source_postgres("ghost")


def test_on_aws_no_key_is_stored() -> None:
    without = {name: value for name, value in DESCRIBED.items() if name != "AWS_ENDPOINT_URL"}
    blocks = [block for _, block in make_blocks(without | {"AWS_SESSION_TOKEN": SECRET})]
    credentials: Any = next(block for block in blocks if block.get_block_type_slug() == "aws-credentials")
    assert (credentials.aws_access_key_id, credentials.aws_secret_access_key) == (None, None)
    assert credentials.aws_session_token is None
    assert credentials.region_name == "eu-west-1"


@pytest.mark.parametrize("name", ["WAREHOUSE_URL", "WAREHOUSE_IAM_ROLE", "LANDING_BUCKET", "PROCESSED_BUCKET"])
def test_a_missing_variable_is_named_with_its_meaning(name: str) -> None:
    meaning = next(variable.meaning for variable in VARIABLES if variable.name == name)
    with pytest.raises(ConfigurationError) as raised:
        list(make_blocks(DESCRIBED | {name: ""}))
    assert name in str(raised.value)
    assert meaning in str(raised.value)


def test_all_missing_variables_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as raised:
        list(make_blocks({}))
    for name in ("SOURCE_POSTGRES_URL", "WAREHOUSE_URL", "LANDING_BUCKET", "PROCESSED_BUCKET"):
        assert name in str(raised.value)


def test_a_postgres_warehouse_needs_no_role() -> None:
    environment = DESCRIBED | {"WAREHOUSE_URL": "postgresql://u@h/d", "WAREHOUSE_IAM_ROLE": ""}
    warehouse: Any = dict(make_blocks(environment))["warehouse"]
    assert not warehouse.is_redshift


@pytest.mark.parametrize(
    ("name", "url", "problem"),
    [
        ("SOURCE_POSTGRES_URL", f"mysql://u:{SECRET}@h/d", "begins with mysql://"),
        ("SOURCE_POSTGRES_URL", f"redshift://u:{SECRET}@h/d", "begins with redshift://"),
        ("SOURCE_POSTGRES_URL", f"postgresql+psycopg://u:{SECRET}@h/d", r"begins with postgresql\+psycopg://"),
        ("SOURCE_POSTGRES_URL", f"host=h password={SECRET}", "not a database URL"),
        ("SOURCE_POSTGRES_URL", f"postgresql://u:{SECRET}@h:port/d", "not a database URL"),
        ("SOURCE_POSTGRES_URL", f"postgresql://u:{SECRET}@h", "no host or no database"),
        ("SOURCE_POSTGRES_URL", f"postgresql://u@h/d?password={SECRET}", "behind the question mark"),
        ("SOURCE_POSTGRES_URL", f"postgresql://u@h/d?sslkey=k&sslpassword={SECRET}", "behind the question mark"),
        ("WAREHOUSE_URL", f"snowflake://u:{SECRET}@h/d", "begins with snowflake://"),
        ("SOURCE_MONGO_URL", f"http://u:{SECRET}@h/d", "begins with http:"),
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(name: str, url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}.*{problem}.*Remedy") as raised:
        list(make_blocks(DESCRIBED | {name: url}))
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_spelling_of_postgres_means_psycopg2(scheme: str) -> None:
    blocks = dict(make_blocks(DESCRIBED | {"SOURCE_POSTGRES_URL": f"{scheme}://u:p@h/d?connect_timeout=3"}))
    connector: Any = blocks["source-postgres"]
    assert connector.connection_info.driver == "postgresql+psycopg2"
    assert connector.connection_info.query == {"connect_timeout": "3"}
    assert "connect_timeout" not in connector.connect_args


def test_the_local_stack_gives_what_is_needed(stack: Stack) -> None:
    environment = stack.environment()
    assert [name for name, _ in make_blocks(environment)] == [
        *("source-mongo", "source-postgres-totesys", "source-postgres-totesys-writer", "source-postgres"),
        *("warehouse", "warehouse", "aws", "landing", "processed"),
        *("source-sqs-events-dead-letter", "source-sqs-events"),
    ]
    create_engine(environment["WAREHOUSE_URL"]).dispose()


class TestCommand:
    def run(self, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "millrace.blocks.bootstrap"],
            cwd=REPOSITORY,
            env={"PATH": "/usr/bin:/bin", **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_it_prints_names_only(self, prefect_server: PrefectServer, stack: Stack) -> None:
        environment = DESCRIBED | {"PREFECT_API_URL": prefect_server.api_url, "PREFECT_HOME": str(prefect_server.home)}
        done = self.run(environment)
        assert done.returncode == 0, done.stderr
        assert sorted(line.split()[1] for line in done.stdout.splitlines()) == DOCUMENTS
        assert SECRET not in done.stdout + done.stderr

    def test_an_error_is_a_sentence(self, tmp_path: Path) -> None:
        api_url = f"http://{LOCALHOST}:{free_port()}/api"
        done = self.run(DESCRIBED | {"PREFECT_API_URL": api_url, "PREFECT_HOME": str(tmp_path)})
        assert done.returncode == 1
        assert done.stderr.startswith("Prefect's API: ")
        assert "Remedy: see that PREFECT_API_URL" in done.stderr
        assert "Traceback" not in done.stderr
