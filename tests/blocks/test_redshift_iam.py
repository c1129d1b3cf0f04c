"""No password: AWS mints credentials for a login, and mints them again before they expire.

Against the stand-in for Redshift, which really checks user and password.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from prefect.client.orchestration import get_client

from local.prefect_server import PrefectServer
from local.processes import LOCALHOST
from local.stack import Stack
from local.warehouse import LOADER
from millrace.base.errors import ConfigurationError, MillraceError, SourceMissing, Unreachable
from millrace.blocks.bootstrap import bootstrap
from millrace.blocks.load import load_warehouse
from millrace.blocks.reference import reference
from millrace.blocks.sql import driver_of, opener, opener_naming, warehouse_connector
from millrace.drivers.psycopg_errors import database_errors
from millrace.drivers.redshift_credentials import RedshiftAccess, access_of
from millrace.warehouse.dialect import dialect_for
from tests.support.credentials_api import ASSUMED_KEY, CredentialsApi

ROLE = "arn:aws:iam::210987654321:role/warehouse"
SERVERLESS = "stars.123456789012.eu-west-1.redshift-serverless.amazonaws.com"
CLUSTER = "dwh.c1abc.us-east-2.redshift.amazonaws.com"


@pytest.fixture
def api(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[CredentialsApi]:
    api = CredentialsApi(lambda statement: stack.postgres.execute(statement, database=stack.warehouse.database))
    server = api.start()
    for variable in ("AWS_ENDPOINT_URL_REDSHIFT", "AWS_ENDPOINT_URL_REDSHIFT_SERVERLESS", "AWS_ENDPOINT_URL_STS"):
        monkeypatch.setenv(variable, f"http://{LOCALHOST}:{server.server_port}")
    for variable, value in {"AWS_ACCESS_KEY_ID": "TASK", "AWS_SECRET_ACCESS_KEY": "s", "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(variable, value)
    yield api
    server.shutdown()
    server.server_close()
    stack.postgres.execute('DROP ROLE IF EXISTS "IAMR:task"')


@pytest.fixture
def connect(stack: Stack, api: CredentialsApi) -> Callable[..., Callable[[], Any]]:
    """How connections to the warehouse are opened with these options, by this user."""

    def opened(options: str = "workgroup=stars", user: str = "") -> Callable[[], Any]:
        url = f"redshift+iam://{user}{stack.warehouse.address}?region=eu-west-1&{options}"
        return opener_naming(warehouse_connector(url, place="WAREHOUSE_URL"), database_errors, "warehouse")

    return opened


def user_of(connection: Any) -> str:
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        (user,) = cursor.fetchone()
    return str(user)


def test_serverless_is_asked_by_its_workgroup(api: CredentialsApi, connect: Callable[..., Any], stack: Stack) -> None:
    assert user_of(connect()()) == "IAMR:task"
    (asked,) = api.asked
    assert asked["Action"] == "GetCredentials"
    assert (asked["workgroupName"], asked["dbName"], asked["region"]) == (
        "stars",
        stack.warehouse.database,
        "eu-west-1",
    )


def test_a_cluster_is_asked_by_its_name(api: CredentialsApi, connect: Callable[..., Any]) -> None:
    assert user_of(connect("cluster=dwh")()) == "IAMR:task"
    (asked,) = api.asked
    assert (asked["Action"], asked["ClusterIdentifier"]) == ("GetClusterCredentialsWithIAM", "dwh")


def test_a_user_that_is_named_is_the_one_that_logs_in(
    api: CredentialsApi, connect: Callable[..., Any], stack: Stack
) -> None:
    try:
        assert user_of(connect("cluster=dwh", user=f"{LOADER}@")()) == LOADER
    finally:
        own = stack.postgres.password_of(LOADER)
        stack.postgres.execute(f"ALTER ROLE {LOADER} PASSWORD '{own}' VALID UNTIL 'infinity'")
    (asked,) = api.asked
    assert (asked["Action"], asked["DbUser"], asked["AutoCreate"]) == ("GetClusterCredentials", LOADER, "false")


def test_a_role_of_another_account_asks(api: CredentialsApi, connect: Callable[..., Any]) -> None:
    user_of(connect(f"workgroup=stars&role_arn={ROLE}&external_id=x7")())
    assumed, asked = api.asked
    assert (assumed["Action"], assumed["RoleArn"], assumed["ExternalId"]) == ("AssumeRole", ROLE, "x7")
    assert (assumed["signed by"], asked["signed by"]) == ("TASK", ASSUMED_KEY)


def test_credentials_are_minted_again_before_they_expire(api: CredentialsApi, connect: Callable[..., Any]) -> None:
    """They are said to hold for 62 seconds, 60 of which are not used, and really hold for two."""
    api.said_lifetime, api.lifetime = timedelta(seconds=62), timedelta(seconds=2)
    opened = connect()
    loading = opened()
    assert user_of(opened()) == "IAMR:task"
    assert len(api.minted) == 1, "what still holds is used again"
    time.sleep(2.1)
    with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
        psycopg2.connect(
            host=LOCALHOST, port=loading.info.port, dbname=loading.info.dbname, user="IAMR:task",
            password=api.minted[0][1], sslmode="prefer",
        )  # fmt: skip
    assert user_of(opened()) == "IAMR:task"
    assert len(api.minted) == 2
    assert user_of(loading) == "IAMR:task", "a session outlives its credentials"


def test_threads_share_what_was_minted(api: CredentialsApi, connect: Callable[..., Any]) -> None:
    opened = connect()
    with ThreadPoolExecutor(4) as pool:
        assert {user_of(one) for one in pool.map(lambda _: opened(), range(8))} == {"IAMR:task"}
    assert len(api.minted) == 1


@pytest.mark.parametrize("options", ["workgroup=stars", "cluster=dwh"])
@pytest.mark.parametrize(
    ("refusal", "kind", "remedy"),
    [
        ((403, "AccessDeniedException"), ConfigurationError, "let the role mint credentials"),
        ((404, "ResourceNotFoundException"), SourceMissing, "correct workgroup or cluster"),
        ((404, "ClusterNotFound"), SourceMissing, "correct workgroup or cluster"),
        ((400, "ThrottlingException"), Unreachable, "run again later"),
        ((500, "InternalServerException"), Unreachable, "run again later"),
    ],
    ids=str,
)
def test_a_refusal_says_what_helps(
    options: str,
    refusal: tuple[int, str],
    kind: type[MillraceError],
    remedy: str,
    api: CredentialsApi,
    connect: Callable[..., Any],
) -> None:
    api.refusal = refusal
    with pytest.raises(kind, match=rf"{options.replace('=', ' ')}: .*Remedy: {remedy}") as raised:
        connect(options)()
    assert type(raised.value) is kind


def test_an_api_that_is_not_there_is_unreachable(connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_REDSHIFT_SERVERLESS", f"http://{LOCALHOST}:1")
    with pytest.raises(Unreachable, match="workgroup stars: "):
        connect()()


@pytest.mark.parametrize(
    ("host", "options", "expected"),
    [
        (SERVERLESS, {}, RedshiftAccess("d", workgroup="stars", region="eu-west-1")),
        (CLUSTER, {}, RedshiftAccess("d", cluster="dwh", region="us-east-2")),
        (CLUSTER.upper(), {}, RedshiftAccess("d", cluster="dwh", region="us-east-2")),
        (SERVERLESS, {"workgroup": "moons"}, RedshiftAccess("d", workgroup="moons", region="eu-west-1")),
        ("dwh.example.com", {"cluster": "a", "region": "r"}, RedshiftAccess("d", cluster="a", region="r")),
        ("dwh.example.com", {"cluster": "a"}, RedshiftAccess("d", cluster="a")),
    ],
    ids=str,
)
def test_the_host_says_which_warehouse_it_is(host: str, options: dict[str, str], expected: RedshiftAccess) -> None:
    assert access_of(host, "d", "", options, place="URL") == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"redshift+iam://u:s3cr3t@{CLUSTER}/d", "takes no password"),
        ("redshift+iam://dwh.example.com/d", "does not say which warehouse"),
        ("redshift+iam://dwh.example.com/d?cluster=a&workgroup=b", "does not say which warehouse"),
        (f"redshift+iam://loader@{SERVERLESS}/d", "AWS chooses the user"),
        (f"redshift+iam://{SERVERLESS}", "no host or no database"),
    ],
)
def test_a_wrong_url_is_refused_at_once(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"WAREHOUSE_URL: .*{problem}.*Remedy") as raised:
        warehouse_connector(url, place="WAREHOUSE_URL")
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize("is_reference", [False, True])
async def test_no_block_holds_a_password(
    is_reference: bool,
    api: CredentialsApi,
    prefect_server: PrefectServer,
    stack: Stack,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"redshift+iam://{stack.warehouse.address}?region=eu-west-1&workgroup=stars&sslmode=prefer"
    monkeypatch.setenv("WAREHOUSE_MINTED_URL", url)
    role = {"WAREHOUSE_MINTED_IAM_ROLE": ROLE}
    value = reference("WAREHOUSE_MINTED_URL") if is_reference else url
    await bootstrap(environment | role | {"WAREHOUSE_MINTED_URL": value})
    warehouse = await load_warehouse("minted")
    assert warehouse.is_redshift
    assert driver_of(warehouse.connector) == "redshift+iam"
    assert dialect_for(driver_of(warehouse.connector)).name == "redshift"
    assert warehouse.connector.connection_info.password is None
    assert user_of(opener(warehouse.connector)()) == "IAMR:task"
    with warehouse.connector.get_engine().connect() as connection:
        assert connection.exec_driver_sql("SELECT current_user").scalar_one() == "IAMR:task"
    async with get_client() as client:
        stored = await client.read_block_document_by_name(
            "warehouse-minted", "millrace-warehouse", include_secrets=True
        )
    assert all(password not in stored.model_dump_json() for _, password in api.minted)
