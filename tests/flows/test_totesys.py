"""The pipeline `totesys` as people run it: from the simulated back office through both zones to star and views.

What does not belong here: what the star holds (tests/millrace/models/test_totesys_star.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from local.prefect_server import PrefectServer
from local.stack import Stack
from millrace.base.errors import ConfigurationError
from millrace.blocks.load import load_landing, load_processed
from millrace.blocks.store import BucketStore
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.flows.transform import TransformRequest, transform
from millrace.pipelines.totesys import pipeline
from millrace.tasks.report import RunFailed, RunReport
from millrace.tasks.views import create_views
from tests.saved_blocks import save_blocks
from tests.support.office import STREAMS, Office, open_office

REQUEST = ReplicateRequest(pipeline="totesys")
PLAN = ReplicateRequest(pipeline="totesys", dry_run=True)


@pytest.fixture
async def office(
    prefect_server: PrefectServer, stack: Stack, environment: dict[str, str], aws_environment: dict[str, str]
) -> AsyncIterator[Office]:
    with open_office(stack.postgres, environment["WAREHOUSE_URL"]) as office:
        own = {
            "SOURCE_POSTGRES_TOTESYS_URL": office.reader_url,
            "SOURCE_POSTGRES_TOTESYS_WRITER_URL": office.source_url,
        }
        await save_blocks(environment | own)
        yield office


def loaded(report: RunReport) -> int:
    return sum(one.loaded for one in report.streams)


async def keys(store: BucketStore, name: str) -> list[str]:
    return list(store.list_keys(f"totesys/{name}/"))


async def test_a_run_fills_both_zones_the_star_and_its_views(office: Office) -> None:
    report = await replicate(REQUEST)
    assert {one.stream for one in report.streams} == {member.name for member in pipeline.members}
    assert office.compare().differences == 0
    landing, processed = await load_landing(), await load_processed()
    for name in STREAMS:
        objects = await keys(landing, name)
        assert [key.rpartition("/")[2] for key in objects] == ["batch.json", "part-00000.csv"]
        header = landing.get_bytes(objects[1]).split(b"\n", 1)[0].decode()
        assert header.startswith(f"{name}_id,")
    for model in pipeline.models:
        names = {key.rpartition("/")[2] for key in await keys(processed, model.name)}
        assert {"batch.json", "part-00000.parquet"} <= names
    assert not [key for key in landing.list_keys("") if key.endswith(".parquet")]
    assert not [key for key in processed.list_keys("") if key.endswith(".csv")]
    made = await create_views("totesys")
    assert made == await create_views("totesys")
    for name in made:
        office.warehouse(f"SELECT * FROM {name}")
    assert office.warehouse("SELECT count(*) FROM totesys.current_payment")[0][0] > 0
    plans = {plan.stream: plan for plan in (await replicate(PLAN)).plans}
    assert {plan.changes for plan in plans.values()} == {()}
    assert (plans["design"].reads, plans["payment"].reads) == ("snapshot", "sweep")


async def test_a_plan_holds_streams_and_models_and_changes_nothing(office: Office) -> None:
    plans = {plan.stream: plan for plan in (await replicate(PLAN)).plans}
    assert list(plans) == [member.name for member in pipeline.members]
    assert plans["fact_payment"].changes == ("create table totesys.fact_payment",)
    assert "payment_record_id" in plans["fact_payment"].statements[-1]
    assert office.warehouse("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'totesys'") == [(0,)]


async def test_a_table_that_cannot_be_read_leaves_the_whole_warehouse_as_it_was(office: Office) -> None:
    await replicate(REQUEST)
    office.live(hours=12)
    before, ledger = office.everything(), office.warehouse("SELECT count(*) FROM millrace.batches")
    office.change("REVOKE SELECT ON payment FROM totesys_reader")
    with pytest.raises(RunFailed, match="payment") as failure:
        await replicate(REQUEST)
    rows = {one.stream: (one.status, one.reason.partition(",")[0]) for one in failure.value.report.streams}
    assert rows.pop("payment")[0] == "refused"
    assert rows == dict.fromkeys(set(STREAMS) - {"payment"}, ("failed", "read"))
    assert office.everything() == before
    assert office.warehouse("SELECT count(*) FROM millrace.batches") == ledger
    office.change("GRANT SELECT ON payment TO totesys_reader")
    assert loaded(await replicate(REQUEST)) > 0
    assert office.compare().differences == 0


async def test_a_landed_ingest_is_loaded_by_another_run_and_only_once(office: Office) -> None:
    landed = await replicate(ReplicateRequest(pipeline="totesys", load=False))
    assert {one.note for one in landed.streams} == {"landed"}
    assert office.warehouse("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'totesys'") == [(0,)]
    landing = await load_landing()
    manifests = [key for name in STREAMS for key in await keys(landing, name) if key.endswith("batch.json")]
    with pytest.raises(RunFailed) as failure:
        await transform(TransformRequest(pipeline="totesys", manifests=["totesys/payment/gone/batch.json"]))
    assert [(one.stream, one.status) for one in failure.value.report.streams] == [("payment", "refused")]
    request = TransformRequest(pipeline="totesys", manifests=manifests)
    first = await transform(request)
    assert loaded(first) > 0
    before = office.everything()
    assert loaded(await transform(request)) == loaded(first), "told again, from the ledger"
    assert office.everything() == before
    assert office.compare().differences == 0


async def test_views_of_a_pipeline_that_has_none(office: Office) -> None:
    with pytest.raises(ConfigurationError, match="declares no views"):
        await create_views("stori")


async def test_landing_only_is_refused_where_each_stream_loads_by_itself(office: Office) -> None:
    with pytest.raises(ConfigurationError, match="each of its streams is loaded when it was read"):
        await replicate(ReplicateRequest(pipeline="stori", load=False))
