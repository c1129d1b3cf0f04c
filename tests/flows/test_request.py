"""What a run is asked to do: the form in Prefect's UI, and the run's name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flow_engine import run_flow
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from local.prefect_server import PrefectServer
from millrace.base.errors import ConfigurationError
from millrace.flows.collect import extract_queue
from millrace.flows.parameters import PATHS_VARIABLE
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest, RequestedWindow
from millrace.flows.transform import transform
from millrace.pipelines.events.chart import chart
from millrace.runs.choose import Mode, ReadRequest
from millrace.seed_data.simulate import fill, fill_stocks, simulate, simulate_events, simulate_stocks
from millrace.seed_data.stori.flow import seed

FLOWS = [
    replicate, transform, extract_queue, chart, seed, fill, fill_stocks, simulate, simulate_stocks, simulate_events
]  # fmt: skip
UNTIL = datetime(2026, 3, 4, 5, 20, tzinfo=UTC)


def test_the_form_has_every_field_with_its_meaning_and_needs_none() -> None:
    schema = parameter_schema(replicate).model_dump()
    fields = schema["definitions"]["ReplicateRequest"]["properties"]
    consents = ["accept_rejects", "allow_deletes", "accept_source"]
    assert list(fields) == ["pipeline", "streams", "mode", "deep", "window", "load", "load_now", *consents, "dry_run"]
    assert all(field["description"] for field in fields.values())
    assert fields["mode"]["enum"] == ["incremental", "full", "sweep", "replay", "reload"]
    assert schema["required"] == []


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (ReplicateRequest(), "stori: changes until 2026-03-04 05:20"),
        (ReplicateRequest(mode="full", dry_run=True), "stori: all until 2026-03-04 05:20 (dry run)"),
        (ReplicateRequest(mode="sweep"), "stori: sweep until 2026-03-04 05:20"),
        (ReplicateRequest(mode="sweep", deep=True), "stori: deep sweep until 2026-03-04 05:20"),
        (ReplicateRequest(mode="replay"), "stori: replay of rejects until 2026-03-04 05:20"),
        (ReplicateRequest(window=RequestedWindow(start=UNTIL)), "stori: 2026-03-04 05:20 to 2026-03-04 05:20"),
        (ReplicateRequest(window=RequestedWindow(end=UNTIL)), "stori: beginning to 2026-03-04 05:20"),
    ],
)
def test_a_run_is_named_after_pipeline_and_window(request_: ReplicateRequest, name: str) -> None:
    assert request_.describe(UNTIL) == name


def test_a_window_without_a_zone_is_utc_and_another_zone_is_converted() -> None:
    start = datetime(2026, 1, 1)  # noqa: DTZ001 (as people type it)
    end = datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=7)))
    read_request = ReplicateRequest(window=RequestedWindow(start=start, end=end)).read_request
    assert read_request == ReadRequest(start="2026-01-01T00:00:00+00:00", end="2026-01-01T17:00:00+00:00")


@pytest.mark.parametrize("mode", ["full", "sweep", "replay"])
def test_neither_a_full_run_nor_a_sweep_nor_a_replay_has_a_window(mode: Mode) -> None:
    with pytest.raises(ValidationError, match=f"a {mode} has no window"):
        ReplicateRequest(mode=mode, window=RequestedWindow(start=UNTIL))


@pytest.mark.parametrize("mode", ["incremental", "full", "replay"])
def test_only_a_sweep_is_deep(mode: Mode) -> None:
    assert ReplicateRequest(mode="sweep", deep=True).read_request == ReadRequest("sweep", deep=True)
    with pytest.raises(ValidationError, match="only a sweep can be deep"):
        ReplicateRequest(mode=mode, deep=True)


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValidationError, match="ends before it starts"):
        RequestedWindow(start=UNTIL, end=UNTIL)


def test_a_window_that_begins_in_the_future_is_refused() -> None:
    with pytest.raises(ValidationError, match="is in the future"):
        RequestedWindow(start=datetime.now(UTC) + timedelta(minutes=1))
    RequestedWindow(start=datetime.now(UTC) - timedelta(minutes=1), end=datetime.now(UTC) + timedelta(days=1))


def test_a_window_without_bounds_is_refused() -> None:
    with pytest.raises(ValidationError, match="has neither"):
        ReplicateRequest.model_validate({"window": {}})


@pytest.mark.parametrize("moment", [20260101, 1.7e12, "20260101", "-5", True])
def test_a_number_is_no_moment(moment: object) -> None:
    with pytest.raises(ValidationError, match="write a moment as 2026-01-31T12:00:00Z"):
        RequestedWindow.model_validate({"start": moment})


def test_a_moment_out_of_range_is_refused() -> None:
    with pytest.raises(ValidationError, match="out of range"):
        RequestedWindow(end=datetime.min.replace(tzinfo=timezone(timedelta(hours=7))))


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_no_form_takes_a_key_that_it_does_not_know(flow: Flow[Any, Any]) -> None:
    schema = parameter_schema(flow).model_dump()
    assert all(definition["additionalProperties"] is False for definition in schema["definitions"].values())


@pytest.mark.parametrize(
    "request_",
    [
        {"dryrun": True, "stream": ["trades"]},
        {"window": {"from": "2026-01-01T00:00:00Z"}},
        {"pipeline": "stroi"},
        {"pipeline": "own.py:pipeline"},
        {"mode": "Full"},
    ],
    ids=json.dumps,
)
async def test_a_wrong_request_is_refused_when_the_run_is_created(
    prefect_server: PrefectServer, request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PATHS_VARIABLE, raising=False)
    deployment = await replicate.to_deployment("strict", enforce_parameter_schema=True)
    identifier = await deployment.aapply()
    async with get_client() as client:
        with pytest.raises(PrefectHTTPStatusError, match=r"409|422"):
            await client.create_flow_run_from_deployment(identifier, parameters={"request": request_})
        run = await client.create_flow_run_from_deployment(identifier, parameters={"request": {"dry_run": True}})
        await client.delete_flow_run(run.id)


@pytest.mark.parametrize("flow", [replicate, transform, extract_queue], ids=lambda flow: flow.name)
@pytest.mark.parametrize(("allowed", "imported"), [("", False), ("no", False), ("true", True)])
async def test_a_deployment_imports_no_file_unless_the_environment_allows_it(
    prefect_server: PrefectServer,
    flow: Flow[Any, Any],
    allowed: str,
    imported: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, marker = tmp_path / "own.py", tmp_path / "imported"
    module.write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\npipeline = None\n")
    monkeypatch.setenv(PATHS_VARIABLE, allowed)
    deployment = await flow.to_deployment("by-path", enforce_parameter_schema=False)
    parameters = {"request": {"pipeline": str(module)}}
    async with get_client() as client:
        run = await client.create_flow_run_from_deployment(await deployment.aapply(), parameters=parameters)
    with pytest.raises(ConfigurationError, match="is not a Pipeline" if imported else "only pipelines that ship"):
        await run_flow(flow, flow_run=run, parameters=flow.validate_parameters(parameters))
    assert marker.exists() == imported
