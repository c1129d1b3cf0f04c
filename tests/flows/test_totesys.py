"""The pipeline `totesys` as people run it: from the simulated back office through both zones to star and views."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from local.demos import totesys_source
from local.demos.totesys_star import StarCompared, compare_star
from local.prefect_server import PrefectServer
from local.stack import Stack
from millrace.base.errors import ConfigurationError
from millrace.blocks.load import load_landing, load_processed
from millrace.blocks.store import BucketStore
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.flows.transform import TransformRequest, transform
from millrace.pipelines.totesys import pipeline
from millrace.seed_data.totesys.simulation import TotesysSimulation, install
from millrace.tasks.report import RunFailed, RunReport, StreamReport
from millrace.tasks.views import create_views
from tests.conftest import unique
from tests.saved_blocks import save_blocks

REQUEST = ReplicateRequest(pipeline="totesys")
FIRST_DAY = datetime(2026, 10, 5, tzinfo=UTC)
FILLED_DAYS = 3
STREAMS = [stream.name for stream in pipeline.streams]


@dataclass(frozen=True)
class Office:
    """A back office in its life, and the warehouse that follows it."""

    source: Any
    simulation: TotesysSimulation
    source_url: str
    warehouse_url: str

    def live(self, **span: float) -> None:
        """Let simulated time pass, counted from the end of the history."""
        self.simulation.advance(FIRST_DAY + timedelta(days=FILLED_DAYS) + timedelta(**span))

    def change(self, statement: str) -> None:
        """By hand, as the application would."""
        with self.source, self.source.cursor() as cursor:
            cursor.execute(statement)

    def warehouse(self, statement: str) -> list[tuple[Any, ...]]:
        """Run SQL in the warehouse; rows if there are any."""
        with closing(self._warehouse()) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def compare(self) -> StarCompared:
        """With the second computation."""
        return compare_star(lambda: psycopg2.connect(self.source_url), self._warehouse)

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of replica and star."""
        tables = [f"totesys.{name}" for name in STREAMS]
        tables += [f"totesys.{model.name}" for model in pipeline.models]
        return {table: sorted(self.warehouse(f"SELECT * FROM {table}"), key=repr) for table in tables}

    def _warehouse(self) -> Any:
        return psycopg2.connect(self.warehouse_url.replace("redshift+psycopg2", "postgresql"))


@pytest.fixture
async def office(
    prefect_server: PrefectServer, stack: Stack, environment: dict[str, str], aws_environment: dict[str, str]
) -> AsyncIterator[Office]:
    database = unique("totesys")
    totesys_source.install(stack.postgres, database)
    url = stack.postgres.url(database, user=totesys_source.WRITER)
    reader_url = stack.postgres.url(database, user=totesys_source.READER)
    own = environment | {"SOURCE_POSTGRES_TOTESYS_URL": reader_url, "SOURCE_POSTGRES_TOTESYS_WRITER_URL": url}
    await save_blocks(own)
    with closing(psycopg2.connect(url)) as source:
        install(source)
        simulation = TotesysSimulation(source, 1, FIRST_DAY.date(), silent_rate=100)
        simulation.fill(FILLED_DAYS)
        source.commit()
        yield Office(source, simulation, url, own["WAREHOUSE_URL"])
    stack.postgres.drop_database(database)


def of(report: RunReport, name: str) -> StreamReport:
    return next(one for one in report.streams if one.stream == name)


def loaded(report: RunReport) -> int:
    return sum(one.loaded for one in report.streams)


async def keys(store: BucketStore, name: str) -> list[str]:
    return list(store.list_keys(f"totesys/{name}/"))


async def test_the_star_follows_the_source_and_a_second_computation_agrees(office: Office) -> None:
    first = await replicate(REQUEST)
    assert {one.stream for one in first.streams} == {member.name for member in pipeline.members}
    assert office.compare().differences == 0
    for hours in (9, 13, 18, 42):
        office.live(hours=hours)
        report = await replicate(REQUEST)
    assert of(report, "payment").kind == "sweep"
    assert of(report, "design").kind == "snapshot"
    compared = office.compare()
    assert compared.differences == 0
    found = dict(
        office.warehouse(
            "SELECT stream, sum(rows_silent)::int FROM millrace.batches WHERE rows_silent > 0 GROUP BY stream"
        )
    )
    assert found == {name: count for name, count in compared.silent.items() if count}
    assert found["sales_order"] > 0
    assert found["design"] > 0
    assert office.warehouse("SELECT count(*) FROM totesys.fact_sales_order WHERE _version > 1")[0][0] > 0
    before = office.everything()
    assert loaded(await replicate(REQUEST)) == 0
    assert office.everything() == before


async def test_the_comparison_finds_what_is_wrong(office: Office) -> None:
    await replicate(REQUEST)
    office.warehouse("UPDATE totesys.dim_design SET file_name = 'other' WHERE design_id = 1")
    office.warehouse("DELETE FROM totesys.fact_payment WHERE payment_id = 1")
    office.warehouse("DELETE FROM totesys.dim_staff WHERE staff_id = 1")
    compared = office.compare()
    wrong = {one.table: (one.missing, one.extra) for one in compared.tables if one.missing or one.extra}
    assert wrong == {"dim_design": (1, 1), "fact_payment": (1, 0), "dim_staff": (1, 0)}
    assert compared.orphans > 0


async def test_landing_is_csv_and_processed_is_parquet(office: Office) -> None:
    await replicate(REQUEST)
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


async def test_an_edited_address_or_department_reaches_every_dimension_row(office: Office) -> None:
    await replicate(REQUEST)
    office.change(
        "UPDATE address SET city = 'Elsewhere' WHERE address_id = (SELECT min(legal_address_id) FROM counterparty)"
    )
    office.change(
        "UPDATE department SET location = 'Leds' WHERE department_id = (SELECT min(department_id) FROM staff)"
    )
    report = await replicate(REQUEST)
    moved = office.warehouse(
        "SELECT count(*) FROM totesys.dim_counterparty WHERE counterparty_legal_city = 'Elsewhere'"
    )
    assert moved[0][0] == of(report, "dim_counterparty").updated > 0
    assert of(report, "dim_location").updated == 1
    assert of(report, "dim_staff").updated > 0
    assert office.compare().differences == 0


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


async def test_damage_in_the_replica_is_mended_and_makes_no_version(office: Office) -> None:
    await replicate(REQUEST)
    versions = office.warehouse("SELECT count(*) FROM totesys.fact_sales_order")
    office.warehouse("DELETE FROM totesys.sales_order WHERE sales_order_id <= 5")
    report = await replicate(REQUEST)
    assert of(report, "sales_order").inserted == 5
    assert of(report, "fact_sales_order").unchanged == 5
    assert office.warehouse("SELECT count(*) FROM totesys.fact_sales_order") == versions


async def test_the_views_are_made_and_made_again(office: Office) -> None:
    await replicate(REQUEST)
    made = await create_views("totesys")
    assert made == await create_views("totesys")
    for name in made:
        office.warehouse(f"SELECT * FROM {name}")
    assert office.warehouse("SELECT count(*) FROM totesys.current_payment")[0][0] > 0


async def test_a_plan_holds_streams_and_models_and_changes_nothing(office: Office) -> None:
    request = ReplicateRequest(pipeline="totesys", dry_run=True)
    plans = {plan.stream: plan for plan in (await replicate(request)).plans}
    assert list(plans) == [member.name for member in pipeline.members]
    assert plans["fact_payment"].changes == ("create table totesys.fact_payment",)
    assert "payment_record_id" in plans["fact_payment"].statements[-1]
    assert office.warehouse("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'totesys'") == [(0,)]
    await replicate(REQUEST)
    plans = {plan.stream: plan for plan in (await replicate(request)).plans}
    assert {plan.changes for plan in plans.values()} == {()}
    assert (plans["design"].reads, plans["payment"].reads) == ("snapshot", "sweep")


async def test_views_of_a_pipeline_that_has_none(office: Office) -> None:
    with pytest.raises(ConfigurationError, match="declares no views"):
        await create_views("stori")


async def test_landing_only_is_refused_where_each_stream_loads_by_itself(office: Office) -> None:
    with pytest.raises(ConfigurationError, match="each of its streams is loaded when it was read"):
        await replicate(ReplicateRequest(pipeline="stori", load=False))
