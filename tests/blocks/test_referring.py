"""A document that refers to a variable holds no secret, and is what the variable says where it is loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prefect.blocks.core import Block

from local.prefect_server import PrefectServer
from millrace import Hash, Pipeline, Snapshot, Stream
from millrace.base.errors import ConfigurationError
from millrace.blocks.bootstrap import bootstrap
from millrace.blocks.environment import find_variable, make_blocks
from millrace.blocks.load import (
    load_mask_keys,
    load_source_mongo,
    load_source_mysql,
    load_source_postgres,
    load_warehouse,
)
from millrace.blocks.reference import reference
from millrace.blocks.sql import driver_of

SECRET = "s3cr3t-W0rd"
URLS = {
    "SOURCE_POSTGRES_REFERRED_URL": f"postgresql://reader:{SECRET}@db.example.com/bank",
    "SOURCE_MYSQL_REFERRED_URL": f"mysql://reader:{SECRET}@shop.example.com/shop",
    "SOURCE_MONGO_REFERRED_URL": f"mongodb://reader:{SECRET}@docs.example.com/",
    "WAREHOUSE_URL": f"redshift://loader:{SECRET}@cluster.example.com:5439/warehouse",
    "MASK_REFERRED_KEY": f"a key: {SECRET}",
    "WAREHOUSE_REFERRED_URL": f"postgresql://loader:{SECRET}@stars.example.com/stars",
}
DESCRIBED = {
    "LANDING_BUCKET": "acme-landing",
    "PROCESSED_BUCKET": "acme-processed",
    "WAREHOUSE_IAM_ROLE": "arn:aws:iam::123456789012:role/millrace",
} | {variable: reference(variable) for variable in URLS}


@pytest.fixture
async def referred(prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    await bootstrap(DESCRIBED)
    for variable, url in URLS.items():
        monkeypatch.setenv(variable, url)


def test_a_reference_is_in_the_place_of_every_url() -> None:
    blocks: dict[tuple[str, str], Block] = {
        (block.get_block_type_slug(), name): block for name, block in make_blocks(DESCRIBED)
    }
    found = {variable for block in blocks.values() if (variable := find_variable(block))}
    assert found == URLS.keys()


async def test_what_is_loaded_is_what_the_variable_says(referred: None) -> None:
    connectors = [await load_source_postgres("referred"), await load_source_mysql("referred")]
    connectors += [(await load_warehouse(name)).connector for name in ("", "referred")]
    infos = [one.connection_info for one in connectors]
    assert [one.host for one in infos] == [
        "db.example.com", "shop.example.com", "cluster.example.com", "stars.example.com"
    ]  # fmt: skip
    assert {one.password.get_secret_value() for one in infos} == {SECRET}
    assert [driver_of(one) for one in connectors[2:]] == ["redshift+psycopg2", "postgresql+psycopg2"]
    assert (await load_warehouse()).iam_role == DESCRIBED["WAREHOUSE_IAM_ROLE"]
    assert (await load_source_mongo("referred")).url.get_secret_value() == URLS["SOURCE_MONGO_REFERRED_URL"]


async def test_a_key_of_hashes_is_what_the_variable_says(referred: None) -> None:
    stream = Stream("people", "postgres:public.people", "id", Snapshot(), mask={"email": Hash("referred")})
    assert await load_mask_keys(Pipeline("shop", streams=[stream])) == {"referred": URLS["MASK_REFERRED_KEY"]}
    absent = replace(stream, mask={"email": Hash("absent")})
    with pytest.raises(ConfigurationError, match=r"block secret/mask-key-absent: is not there.* set MASK_ABSENT_KEY"):
        await load_mask_keys(Pipeline("shop", streams=[absent]))


async def test_a_new_value_holds_without_another_bootstrap(referred: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_POSTGRES_REFERRED_URL", "postgresql://reader:rotated@other.example.com/bank")
    info = (await load_source_postgres("referred")).connection_info
    assert (info.host, info.password.get_secret_value()) == ("other.example.com", "rotated")
    assert {line.split()[0] for line in await bootstrap(DESCRIBED)} == {"unchanged"}


async def test_where_the_variable_is_missing_the_error_names_it(
    referred: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WAREHOUSE_URL")
    monkeypatch.setenv("SOURCE_MONGO_REFERRED_URL", "")
    with pytest.raises(ConfigurationError, match="the variable WAREHOUSE_URL, which is not set here"):
        await load_warehouse()
    with pytest.raises(ConfigurationError, match=r"mongodb/source-mongo-referred.*SOURCE_MONGO_REFERRED_URL"):
        await load_source_mongo("referred")


async def test_a_wrong_value_is_named_and_not_shown(referred: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", f"oracle://loader:{SECRET}@db/warehouse")
    with pytest.raises(ConfigurationError, match="WAREHOUSE_URL") as raised:
        await load_warehouse()
    assert SECRET not in str(raised.value)


async def test_a_dry_run_saves_nothing(prefect_server: PrefectServer) -> None:
    described = DESCRIBED | {"SOURCE_POSTGRES_DRY_URL": reference("SOURCE_POSTGRES_DRY_URL")}
    for _ in range(2):
        assert "created sqlalchemy-connector/source-postgres-dry" in await bootstrap(described, dry_run=True)
