"""Where leases are kept, by the variable and by the warehouse's URL."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import make_url

from millrace.base.errors import ConfigurationError
from millrace.blocks.environment import make_blocks
from millrace.blocks.leases import choose_place
from millrace.blocks.sql import Warehouse
from millrace.warehouse.keepers.keeper import KeptIn

SERVERLESS = "analytics.123456789012.eu-west-1.redshift-serverless.amazonaws.com"


@pytest.mark.parametrize(
    ("setting", "url", "place"),
    [
        ("", f"redshift+psycopg2://loader:password@{SERVERLESS}:5439/dev", "lake"),
        ("", f"redshift+iam://{SERVERLESS}/dev", "lake"),
        ("", "redshift+iam:///dev?workgroup=analytics&region=eu-west-1", "lake"),
        ("", "redshift+iam:///dev?cluster=analytics&region=eu-west-1", "warehouse"),
        ("", "redshift+psycopg2://loader:password@one.abc.eu-west-1.redshift.amazonaws.com:5439/dev", "warehouse"),
        ("", "postgresql+psycopg2://loader@localhost/dev", "warehouse"),
        ("lake", "postgresql+psycopg2://loader@localhost/dev", "lake"),
        ("warehouse", f"redshift+psycopg2://loader:password@{SERVERLESS}:5439/dev", "warehouse"),
    ],
    ids=["serverless", "iam host", "iam workgroup", "iam cluster", "cluster", "postgres", "set lake", "set warehouse"],
)
def test_leases_of_serverless_are_kept_in_the_lake_unless_the_setting_says_otherwise(
    setting: str, url: str, place: KeptIn
) -> None:
    assert choose_place(setting, make_url(url), "test") == place


def test_another_value_is_refused_where_the_environment_is_read(environment: dict[str, str]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"WAREHOUSE_LEASES: leases are not kept in 'table'.*choose from warehouse, lake"
    ):
        list(make_blocks(environment | {"WAREHOUSE_LEASES": "table"}))


def test_another_value_of_a_block_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="choose from warehouse, lake"):
        choose_place("table", make_url("postgresql+psycopg2://loader@localhost/dev"), "block warehouse")


def test_the_block_of_the_warehouse_has_the_setting(environment: dict[str, str]) -> None:
    blocks = dict(make_blocks(environment | {"WAREHOUSE_LEASES": "lake"}))
    warehouse = blocks["warehouse"]
    assert isinstance(warehouse, Warehouse)
    assert warehouse.leases == "lake"
