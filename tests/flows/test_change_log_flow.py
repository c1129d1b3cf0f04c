"""Streams of a change log through the flow: read in one snapshot, loaded in one commit."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.base.errors import ConfigurationError
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.tasks.kept_logs import drop_log, list_logs
from millrace.tasks.stream_life import pause
from tests.flows.conftest import Places, publish_followed


def rows_of(report: Any) -> dict[str, tuple[str, int, int, int]]:
    """What the run did to the streams of the log: kind of read, and rows inserted, updated and deleted."""
    return {
        row.stream: (row.kind, row.inserted, row.updated, row.deleted)
        for row in report.streams
        if row.stream != "notes"
    }


async def test_streams_of_a_change_log_are_loaded_together(
    places: Places, request_of_followed: ReplicateRequest
) -> None:
    with pytest.raises(ExceptionGroup, match="CREATE PUBLICATION") as refused:
        await replicate(request_of_followed)
    assert publish_followed() in str(refused.value)
    # The stream with a cursor was loaded all the same.
    assert places.warehouse("SELECT id FROM followed.notes") == [(1,)]
    with pytest.raises(ExceptionGroup, match="CREATE PUBLICATION"):
        await replicate(request_of_followed.model_copy(update={"dry_run": True}))
    places.source(publish_followed())
    report = await replicate(request_of_followed)
    assert rows_of(report) == {"orders": ("window", 2, 0, 0), "items": ("window", 3, 0, 0)}
    places.source("DELETE FROM items WHERE id = 3; UPDATE orders SET note = 'c' WHERE id = 2; DELETE FROM notes")
    planned = await replicate(request_of_followed.model_copy(update={"dry_run": True}))
    assert [plan.reads for plan in planned.plans] == ["log", "log", "window"]
    report = await replicate(request_of_followed)
    assert rows_of(report) == {"orders": ("log", 0, 1, 0), "items": ("log", 0, 0, 1)}
    assert places.warehouse("SELECT count(DISTINCT applied_at) FROM millrace.batches WHERE kind = 'log'") == [(1,)]
    report = await replicate(request_of_followed)
    assert [row.status for row in report.streams[:2]] == ["nothing new", "nothing new"]


async def test_a_report_tells_what_the_source_keeps_and_for_whom(
    places: Places, request_of_followed: ReplicateRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.change_logs.retention.HIGH_BYTES", 1024 * 1024)
    places.source(publish_followed())
    report = await replicate(request_of_followed)
    assert [row.used_log_share for row in report.streams] == [None, None, None]
    await pause(request_of_followed.pipeline, "items")
    places.source("CREATE TABLE noise AS SELECT repeat('x', 100) FROM generate_series(1, 20000)")
    report = await replicate(request_of_followed)
    orders = next(row for row in report.streams if row.stream == "orders")
    assert (orders.retained_log_bytes or 0) > 1024 * 1024
    assert "it is kept for streams that were not read, too: items" in orders.note
    assert [row.retained_log_bytes for row in report.streams if row.stream != "orders"] == [None, None]


async def test_kept_logs_are_listed_and_given_up_by_name(places: Places, request_of_followed: ReplicateRequest) -> None:
    places.source(publish_followed())
    await replicate(request_of_followed)
    places.source("SELECT pg_create_logical_replication_slot('millrace_gone_12345678', 'pgoutput')")
    found = {log.slot: log for log in await list_logs(request_of_followed.pipeline)}
    assert [log.is_own for log in found.values()] == [True, False]
    assert all((log.retention.retained_bytes or 0) >= 0 and not log.is_active for log in found.values())
    await drop_log(request_of_followed.pipeline, "millrace_gone_12345678")
    assert [log.is_own for log in await list_logs(request_of_followed.pipeline)] == [True]
    with pytest.raises(ConfigurationError, match="there is no replication slot"):
        await drop_log(request_of_followed.pipeline, "millrace_gone_12345678")
    with pytest.raises(ConfigurationError, match="no stream of it"):
        await list_logs("stori")
