"""Bad input: one clear message that names stream, place and remedy, a failed run, and nothing changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import TaskRunSort
from sqlalchemy.engine import make_url

from local.processes import free_port
from millrace import Incremental, Pipeline, Stream
from millrace.base.errors import (
    ConfigurationError,
    FatalError,
    MillraceError,
    SourceMissing,
    TooManyRejects,
    Unreachable,
)
from millrace.blocks.load import load_source_mongo
from millrace.blocks.names import source_name
from millrace.declaration.source_kinds import POSTGRES
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.sources.chunk import Window
from millrace.tasks.connections import open_source
from millrace.tasks.extract import EXTRACT_STREAM
from millrace.tasks.failures import distinct_errors
from millrace.tasks.messages import failure_message
from millrace.tasks.views import create_views
from millrace.warehouse.warehouse import Warehouse
from tests.flows.conftest import OwnPipeline, Places
from tests.saved_blocks import save_blocks

SCHEMES = {"postgres": "postgres", "mysql": "mysql", "mongo": "mongodb"}
NOTES = "CREATE TABLE notes (id int, body text, changed timestamptz DEFAULT clock_timestamp())"


@pytest.fixture(autouse=True)
async def _unchanged(places: Places) -> AsyncIterator[None]:
    """After every test of this file the warehouse holds what it held before."""
    before = places.everything()
    yield
    assert places.everything() == before


async def failure(pipeline: str) -> MillraceError:
    with pytest.raises(ExceptionGroup) as raised:
        await replicate(ReplicateRequest(pipeline=pipeline))
    (reason,) = raised.value.exceptions
    assert isinstance(reason, MillraceError)
    assert reason.place
    assert reason.remedy
    return reason


async def test_a_missing_table(places: Places, own_pipeline: OwnPipeline) -> None:
    reason = await failure(own_pipeline("absent", "id"))
    assert isinstance(reason, SourceMissing)
    assert "stream absent (postgres:public.absent)" in str(reason)


async def test_wrong_credentials(places: Places, own_pipeline: OwnPipeline, caplog: pytest.LogCaptureFixture) -> None:
    places.source(NOTES)
    url = make_url(places.source_url).set(password="wrong-secret-31").render_as_string(hide_password=False)
    await save_blocks(places.environment | {"SOURCE_POSTGRES_URL": url})
    reason = await failure(own_pipeline("notes", "id"))
    assert isinstance(reason, ConfigurationError)
    assert "wrong-secret-31" not in f"{reason}{caplog.text}"


async def test_an_unreachable_server_is_tried_again(
    places: Places, own_pipeline: OwnPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(places.source_url).set(port=free_port()).render_as_string(hide_password=False)
    await save_blocks(places.environment | {"SOURCE_POSTGRES_URL": url})
    monkeypatch.setattr(EXTRACT_STREAM[POSTGRES], "retry_delay_seconds", [0, 0, 0])
    reason = await failure(own_pipeline("notes", "id"))
    assert isinstance(reason, Unreachable)
    async with get_client() as client:
        runs = await client.read_task_runs(
            task_run_filter=TaskRunFilter(name=TaskRunFilterName(any_=["extract notes"])),
            sort=TaskRunSort.EXPECTED_START_TIME_DESC,
        )
    assert runs[0].run_count == 1 + EXTRACT_STREAM[POSTGRES].retries


@pytest.mark.parametrize("kind", ["postgres", "mysql", "mongo"])
async def test_a_source_that_is_down_is_one_cause_however_many_streams_it_has(places: Places, kind: str) -> None:
    await save_blocks(
        places.environment | {f"SOURCE_{kind.upper()}_DOWN_URL": f"{SCHEMES[kind]}://u:p@127.0.0.1:{free_port()}/d"}
    )
    if kind == "mongo":
        impatient = await load_source_mongo("down")
        impatient.server_selection_timeout_seconds = 0.2
        await impatient.save(source_name(kind, "down"), overwrite=True)
    streams = [Stream(name, f"{kind}/down:public.{name}", "id", Incremental("at")) for name in ("notes", "staff")]
    failures = []
    for stream in streams:
        with pytest.raises(Unreachable) as failure:
            async with open_source(Pipeline("shop", streams), stream, cast("Warehouse", None)) as source:
                await source.plan(stream, (), Window(None, None))
        failures.append(failure.value)
    (cause,) = distinct_errors(failures)
    assert isinstance(cause, Unreachable)
    assert cause.place == f"source {kind}/down"


async def test_more_rejects_than_allowed(places: Places, own_pipeline: OwnPipeline) -> None:
    places.source("CREATE TABLE notes (id int PRIMARY KEY, amount numeric, changed timestamptz)")
    places.source(
        "INSERT INTO notes SELECT i, CASE WHEN i > 60 THEN 'NaN'::numeric END, now() FROM generate_series(1, 1061) AS i"
    )
    pipeline = own_pipeline("notes", "id")
    reason = await failure(pipeline)
    assert isinstance(reason, TooManyRejects)
    assert "1,001 of 1,061 rows were rejected, 106 are allowed" in reason.problem
    assert "rejects-*.ndjson" in reason.remedy
    told = failure_message("replicate", FlowRun(flow_id=uuid4(), name="run"), reason)
    assert "stopped: too many rejected rows" in told.subject
    assert "1,001 number_does_not_fit of amount" in told.body
    assert f"`millrace rejects {pipeline} --stream notes`" in told.body


@pytest.mark.parametrize("pipeline", ["totesys", "stori"])
async def test_views_of_tables_that_are_not_there_yet(places: Places, pipeline: str) -> None:
    """Or of a pipeline that has none."""
    with pytest.raises(ConfigurationError) as raised:
        await create_views(pipeline)
    assert ("`millrace run totesys`" if pipeline == "totesys" else "name a file") in raised.value.remedy


async def test_a_pipeline_with_versions_needs_no_file_of_views(places: Places, tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(
        "from millrace import Pipeline, Scd2, Snapshot, Stream\n"
        "pipeline = Pipeline('shop', [Stream('a', 'postgres:public.a', 'id', Snapshot(), load=Scd2('a_key'))])\n"
    )
    assert await create_views(str(module)) == ["shop.a_at is not made: shop.a is not there yet"]


async def test_views_whose_statement_is_wrong(places: Places, tmp_path: Path) -> None:
    views, module = tmp_path / "views.sql", tmp_path / "shop.py"
    views.write_text("CREATE OR REPLACE VIEW public.one AS\nSELEKT 1;\n")
    module.write_text(
        "from millrace import Pipeline, Snapshot, Stream\n"
        f"pipeline = Pipeline('shop', [Stream('a', 'postgres:public.a', 'id', Snapshot())], views={str(views)!r})\n"
    )
    with pytest.raises(FatalError, match="CREATE OR REPLACE VIEW: syntax error") as raised:
        await create_views(str(module))
    assert str(views) in raised.value.remedy


async def test_a_pipeline_that_is_none(places: Places) -> None:
    with pytest.raises(ConfigurationError, match="there is no pipeline 'nope'"):
        await replicate(ReplicateRequest(pipeline="nope"))


async def test_a_stream_that_is_none(places: Places) -> None:
    with pytest.raises(ConfigurationError, match="choose from transactions, trades"):
        await replicate(ReplicateRequest(pipeline="stori", streams=["nope"]))
