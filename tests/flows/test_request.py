"""What a run is asked to do: the form in Prefect's UI, and the run's name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from flows.replicate import replicate
from flows.request import ReplicateRequest, Window
from millrace.run import Bounds, Mode

UNTIL = datetime(2026, 3, 4, 5, 20, tzinfo=UTC)


def test_the_form_has_every_field_with_its_meaning_and_needs_none() -> None:
    schema = parameter_schema(replicate).model_dump()
    fields = schema["definitions"]["ReplicateRequest"]["properties"]
    assert list(fields) == ["pipeline", "streams", "mode", "window", "load", "accept_rejects", "dry_run"]
    assert all(field["description"] for field in fields.values())
    assert fields["mode"]["enum"] == ["incremental", "full", "sweep", "replay"]
    assert schema["required"] == []


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (ReplicateRequest(), "stori: changes until 2026-03-04 05:20"),
        (ReplicateRequest(mode="full", dry_run=True), "stori: all until 2026-03-04 05:20 (dry run)"),
        (ReplicateRequest(mode="sweep"), "stori: sweep until 2026-03-04 05:20"),
        (ReplicateRequest(mode="replay"), "stori: replay of rejects until 2026-03-04 05:20"),
        (ReplicateRequest(window=Window(start=UNTIL)), "stori: 2026-03-04 05:20 to 2026-03-04 05:20"),
        (ReplicateRequest(window=Window(end=UNTIL)), "stori: beginning to 2026-03-04 05:20"),
    ],
)
def test_a_run_is_named_after_pipeline_and_window(request_: ReplicateRequest, name: str) -> None:
    assert request_.describe(UNTIL) == name


def test_a_window_without_a_zone_is_utc_and_another_zone_is_converted() -> None:
    start = datetime(2026, 1, 1)  # noqa: DTZ001 (as people type it)
    end = datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=7)))
    bounds = ReplicateRequest(window=Window(start=start, end=end)).bounds
    assert bounds == Bounds(start="2026-01-01T00:00:00+00:00", end="2026-01-01T17:00:00+00:00")


@pytest.mark.parametrize("mode", ["sweep", "replay"])
def test_neither_a_sweep_nor_a_replay_has_a_window(mode: Mode) -> None:
    with pytest.raises(ValidationError, match=f"a {mode} has no window"):
        ReplicateRequest(mode=mode, window=Window(start=UNTIL))


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValidationError, match="ends before it starts"):
        Window(start=UNTIL, end=UNTIL)
