"""A pipeline's own warehouse: named by variables, found by the name, and refused where there is none."""

from __future__ import annotations

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate

from local.prefect_server import PrefectServer
from millrace import Incremental, Pipeline, Stream
from millrace.base.errors import ConfigurationError
from millrace.blocks.bootstrap import bootstrap
from millrace.blocks.environment import make_blocks
from millrace.blocks.load import load_source_postgres, load_source_queue, load_warehouse
from millrace.blocks.names import dead_letter
from millrace.blocks.sql import Warehouse, driver_of, warehouse_connector
from millrace.tasks.connections import open_warehouse

SECRET = "s3cr3t-W0rd"
ROLE = "arn:aws:iam::123456789012:role/millrace"
POSTGRES = f"postgresql://loader:{SECRET}@stars.example.com/stocks"
REDSHIFT = f"redshift://loader:{SECRET}@cluster.example.com:5439/stocks"


def test_a_named_warehouse_has_its_own_role(environment: dict[str, str]) -> None:
    named = {"WAREHOUSE_BACK_OFFICE_URL": REDSHIFT, "WAREHOUSE_BACK_OFFICE_IAM_ROLE": ROLE}
    found = [(name, block) for name, block in make_blocks(environment | named) if isinstance(block, Warehouse)]
    assert {name: block.iam_role for name, block in found} == {
        "warehouse": environment["WAREHOUSE_IAM_ROLE"],
        "warehouse-back-office": ROLE,
    }


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WAREHOUSE_STOCKS_URL": REDSHIFT}, r"missing.*set WAREHOUSE_STOCKS_IAM_ROLE \(ARN of the role"),
        ({"WAREHOUSE_STOCKS_IAM_ROLE": ROLE}, r"missing.*set WAREHOUSE_STOCKS_URL \(the warehouse"),
        ({"WAREHOUSE_STOCKS_URL": f"mysql://u:{SECRET}@h/d"}, "WAREHOUSE_STOCKS_URL: the URL begins with mysql://"),
        ({"WAREHOUSE_STOCKS_URL": POSTGRES, "WAREHOUSE_URL": ""}, r"missing.*set WAREHOUSE_URL"),
    ],
)
def test_what_is_wrong_or_missing_is_named(
    variables: dict[str, str], message: str, environment: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match=message) as raised:
        list(make_blocks(environment | variables))
    assert SECRET not in str(raised.value)


async def test_a_pipeline_is_loaded_where_it_says_and_nowhere_else(
    prefect_server: PrefectServer, environment: dict[str, str]
) -> None:
    await bootstrap(environment | {"WAREHOUSE_STARS_URL": POSTGRES})
    named, common = await load_warehouse("stars"), await load_warehouse()
    assert driver_of(named.connector) == "postgresql+psycopg2"
    assert named.connector.connection_info.host == "stars.example.com"
    assert common.is_redshift
    assert (await open_warehouse(pipeline("stars"))).dialect.name == "postgres"
    assert (await open_warehouse(pipeline(""))).dialect.name == "redshift"
    for name in ("nowhere", "star", "stars-2"):
        told = f"warehouse-{name}: is not there. Remedy: set WAREHOUSE_{name.upper().replace('-', '_')}_URL, and run"
        with pytest.raises(ConfigurationError, match=told):
            await open_warehouse(pipeline(name))


async def test_a_source_that_is_not_there_is_told_with_its_variable(prefect_server: PrefectServer) -> None:
    with pytest.raises(ConfigurationError, match="set SOURCE_POSTGRES_SHOPP_URL, and run"):
        await load_source_postgres("shopp")
    with pytest.raises(ConfigurationError, match="set SOURCE_SQS_EVENT_DEAD_LETTER_URL, and run"):
        await load_source_queue(dead_letter("event"))


async def test_a_document_of_another_shape_is_no_reason_to_load_elsewhere(
    prefect_server: PrefectServer,
) -> None:
    await Warehouse(connector=warehouse_connector(POSTGRES, place="test")).asave("warehouse-bent", overwrite=True)
    async with get_client() as client:
        document = await client.read_block_document_by_name("warehouse-bent", "millrace-warehouse")
        bent = BlockDocumentUpdate(block_schema_id=document.block_schema_id, data={"iam_role": ["not", "a", "text"]})
        await client.update_block_document(document.id, bent)
    with pytest.raises(ConfigurationError, match="millrace-warehouse/warehouse-bent: does not fit its type"):
        await load_warehouse("bent")


def pipeline(warehouse: str) -> Pipeline:
    stream = Stream("trades", source="mysql:shop.trades", key="id", capture=Incremental("changed"))
    return Pipeline("shop", [stream], warehouse=warehouse)


@pytest.mark.parametrize("name", ["Stocks", "stock_db", "a/b", " "])
def test_a_warehouse_that_no_variable_can_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"pipeline shop: warehouse .* is not the name of a connection"):
        pipeline(name)
