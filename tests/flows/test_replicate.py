"""The parent flow on real servers: the warehouse equals the sources, and every run can be trusted."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowFilter, FlowFilterName
from prefect.client.schemas.sorting import FlowRunSort
from sqlalchemy.engine import make_url

from local.stack import Stack
from millrace.base.errors import SourceMissing
from millrace.drivers.mongo_client import open_client
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest, RequestedWindow
from millrace.seed_data.stori.changes import change_trades, change_transactions
from millrace.seed_data.stori.flow import SeedRequest, seed
from tests.conftest import unique
from tests.flows.conftest import OwnPipeline, Places, told_as_loaded
from tests.saved_blocks import save_blocks

ROWS, DOCUMENTS = 400, 300
TRANSACTION_COLUMNS = (
    "transaction_no, account_no, date, transaction_details, chip_used, value_date, withdrawal_amt, deposit_amt, "
    "balance_amt, created_at, updated_at"
)
TRADE_COLUMNS = (
    "id, price, shares, ticker, ticket, details_asks, details_bids, details_lag, details_system, time_date, updated_at"
)
TRANSACTIONS = ReplicateRequest(streams=["transactions"])


async def seeded(places: Places) -> None:
    await seed(SeedRequest(rows=ROWS, documents=DOCUMENTS, seed=7))


async def change(places: Places, inserts: int = 20, updates: int = 10) -> None:
    with closing(psycopg2.connect(places.source_url)) as connection:
        change_transactions(connection, inserts=inserts, updates=updates, seed=3)
    client = open_client(places.mongo_url)
    await change_trades(client["finance"], inserts=inserts, updates=updates, seed=3)
    client.close()


async def trades_in_source(places: Places) -> list[tuple[Any, ...]]:
    """Flattened here by hand, so that the engine's own flattening is not its judge."""
    client = open_client(places.mongo_url)
    documents = await client["finance"]["trades"].find({}).sort("id", 1).to_list(None)
    client.close()

    def moment(value: datetime) -> datetime:
        return value.replace(tzinfo=UTC)

    return [
        (
            one["id"], one["price"], one["shares"], one.get("ticker"), one.get("ticket"), one["details"]["asks"],
            one["details"]["bids"], one["details"]["lag"], one["details"]["system"], moment(one["time"]["date"]),
            moment(one["updatedAt"]),
        )
        for one in documents
    ]  # fmt: skip


def trades_in_warehouse(places: Places) -> list[tuple[Any, ...]]:
    rows = places.warehouse(f"SELECT {TRADE_COLUMNS} FROM stori.trades ORDER BY id")
    return [tuple(json.loads(value) if str(value).startswith("[") else value for value in row) for row in rows]


async def assert_equal(places: Places) -> None:
    question = f"SELECT {TRANSACTION_COLUMNS} FROM {{}}.transactions ORDER BY transaction_no"
    assert places.warehouse(question.format("stori")) == places.source(question.format("public"))
    assert trades_in_warehouse(places) == await trades_in_source(places)


async def test_the_warehouse_equals_the_sources_after_inserts_and_updates(places: Places) -> None:
    await seeded(places)
    first = await replicate(ReplicateRequest(pipeline="stori"))
    assert {one.stream: (one.read, one.inserted) for one in first.streams} == {
        "transactions": (ROWS, ROWS),
        "trades": (DOCUMENTS, DOCUMENTS),
    }
    await assert_equal(places)

    await change(places)
    second = await replicate(ReplicateRequest(pipeline="stori"))
    assert {one.stream: (one.inserted, one.updated, one.rejected) for one in second.streams} == {
        "transactions": (20, 10, 0),
        "trades": (20, 10, 0),
    }
    assert all(one.read == one.loaded + one.unchanged + one.rejected for one in second.streams)
    await assert_equal(places)


async def test_mode_and_window_of_the_request_reach_the_read(places: Places) -> None:
    await seeded(places)
    await replicate(TRANSACTIONS)
    (position,) = places.warehouse("SELECT position FROM millrace.batches")
    (report,) = (await replicate(ReplicateRequest(streams=["transactions"], mode="full"))).streams
    assert (report.read, report.loaded, report.unchanged) == (ROWS, 0, ROWS)
    window = RequestedWindow(start=datetime(2020, 1, 1, tzinfo=UTC), end=datetime(2100, 1, 1, tzinfo=UTC))
    (report,) = (await replicate(ReplicateRequest(streams=["transactions"], window=window))).streams
    assert (report.read, report.unchanged) == (ROWS, ROWS)
    positions = places.warehouse("SELECT position FROM millrace.batches ORDER BY read_at")
    assert (positions[0], positions[-1]) == (position, (None,))


async def test_a_run_that_lost_a_stream_is_not_told_as_loaded(places: Places, own_pipeline: OwnPipeline) -> None:
    """Else nobody would be told of the silence of that stream."""
    request = ReplicateRequest(pipeline=own_pipeline("telling", "id"))
    # Other tests have pipelines of this name.
    of_nothing = (await told_as_loaded("shop")).count([])
    with pytest.raises(ExceptionGroup):
        await replicate(request)
    places.source("CREATE TABLE telling (id int PRIMARY KEY, changed timestamptz DEFAULT clock_timestamp())")
    await replicate(request)
    for _ in range(100):
        if ["telling"] in (told := await told_as_loaded("shop")):
            break
        await asyncio.sleep(0.2)
    assert told.count(["telling"]) == 1
    assert told.count([]) <= of_nothing


async def test_a_stream_that_fails_does_not_stop_the_others(places: Places) -> None:
    await seeded(places)
    places.source("ALTER TABLE transactions RENAME TO elsewhere")
    with pytest.raises(ExceptionGroup) as failure:
        await replicate(ReplicateRequest(pipeline="stori"))
    (reason,) = failure.value.exceptions
    assert isinstance(reason, SourceMissing)
    assert "stream transactions (postgres:public.transactions)" in str(reason)
    assert places.warehouse("SELECT count(*) FROM stori.trades") == [(DOCUMENTS,)]
    async with get_client() as client:
        latest = (await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=3))[0:3]
    assert {run.name.split(":")[0]: run.state_name for run in latest} == {
        "stori": "Failed",
        "extract stori from Postgres": "Failed",
        "extract stori from MongoDB": "Completed",
    }


async def test_a_dry_run_shows_the_plan_and_changes_nothing(places: Places) -> None:
    await seeded(places)
    report = await replicate(ReplicateRequest(pipeline="stori", dry_run=True))
    plans = {plan.stream: plan for plan in report.plans}
    assert plans["transactions"].changes == ("create table stori.transactions",)
    assert 'FROM "public"."transactions"' in plans["transactions"].query
    assert any(sql.startswith('CREATE TABLE IF NOT EXISTS "stori"') for sql in plans["transactions"].statements)
    assert plans["trades"].query == "db.trades.find({})"
    assert places.everything() == {}


async def test_a_connection_lost_before_the_commit_loses_and_doubles_nothing(places: Places) -> None:
    await seeded(places)
    await replicate(TRANSACTIONS)
    places.source("UPDATE transactions SET transaction_details = 'again' WHERE transaction_no <= 4")
    places.warehouse("""STANDIN INJECT '{"statement": "insert", "action": "close"}'""")
    (report,) = (await replicate(TRANSACTIONS)).streams
    assert (report.updated, report.inserted) == (4, 0)
    assert places.warehouse("SELECT count(*), count(DISTINCT transaction_no) FROM stori.transactions") == [(ROWS, ROWS)]


async def test_a_user_of_few_rights_is_told_what_cannot_be_seen(
    stack: Stack, places: Places, own_pipeline: OwnPipeline
) -> None:
    places.source("CREATE TABLE notes (id int PRIMARY KEY, body text, changed timestamptz DEFAULT now())")
    places.source("INSERT INTO notes VALUES (1, 'a')")
    role, database = unique("reader"), make_url(places.source_url).database
    stack.postgres.create_role(role)
    places.source(f"GRANT CONNECT ON DATABASE {database} TO {role}; GRANT SELECT ON notes TO {role}")
    url = stack.postgres.url(database, user=role)
    await save_blocks(places.environment | {"SOURCE_POSTGRES_URL": url})
    (report,) = (await replicate(ReplicateRequest(pipeline=own_pipeline("notes", "id")))).streams
    assert report.inserted == 1
    assert "grant pg_read_all_stats" in report.note
    ((read_at, position),) = places.warehouse("SELECT read_at, position FROM millrace.batches")
    assert read_at - datetime.fromisoformat(position) == timedelta(minutes=15)


async def test_the_run_s_artifact_and_name_say_what_happened(places: Places) -> None:
    await seeded(places)
    state = await replicate(ReplicateRequest(pipeline="stori"), return_state=True)
    async with get_client() as client:
        run = await client.read_flow_run(state.state_details.flow_run_id)
        [artifact] = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        )
    assert run.name == f"stori: changes until {run.expected_start_time:%Y-%m-%d %H:%M}"
    assert artifact.key == "millrace-stori"
    assert [(row["stream"], row["read"], row["loaded"], row["rejected"]) for row in json.loads(artifact.data)] == [
        ("transactions", ROWS, ROWS, 0),
        ("trades", DOCUMENTS, DOCUMENTS, 0),
    ]


async def test_a_subflow_run_is_part_of_its_parent(places: Places) -> None:
    """Both extract flows run at once: each begins before the other ends."""
    await seeded(places)
    await replicate(ReplicateRequest(pipeline="stori"))
    async with get_client() as client:
        one, other = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["extract-postgres", "extract-mongo"])),
            sort=FlowRunSort.START_TIME_DESC,
            limit=2,
        )
    assert {one.name, other.name} == {"extract stori from Postgres", "extract stori from MongoDB"}
    assert one.start_time < other.end_time
    assert other.start_time < one.end_time
