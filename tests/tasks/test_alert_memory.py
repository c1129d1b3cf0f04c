"""People are told of a fault at once, then with growing pauses, and of its end once."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from prefect.logging import get_logger
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from millrace.change_logs.retention import RetainedLog, Retention
from millrace.tasks.alert_memory import Memory, decide
from millrace.tasks.alerts import alert_retained_logs, send_alert
from millrace.tasks.messages import AlertMessage

BEGUN = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)


def tell(hours_and_faults: list[tuple[float, bool]]) -> list[str]:
    """Look at a fault at these hours, and return what people were told each time."""
    memory: Memory = {}
    told = []
    for hours, is_found in hours_and_faults:
        occasions, memory = decide(memory, {"log": is_found}, BEGUN + timedelta(hours=hours))
        told.append(occasions.get("log", ""))
    return told


def test_a_fault_that_lasts_is_told_with_growing_pauses() -> None:
    looks = [0, 0.9, 1.0, 2, 4.9, 5.0, 28.9, 29.0, 53.1]
    told = tell([(hours, True) for hours in looks])
    assert told == ["first", "", "again", "", "", "again", "", "again", "again"]


def test_its_end_is_told_once_and_it_may_begin_again() -> None:
    assert tell([(0, False), (1, True), (2, False), (3, False), (3.1, True)]) == ["", "first", "recovered", "", "first"]


def test_faults_do_not_hide_each_other() -> None:
    occasions, memory = decide({}, {"a": True, "b": False}, BEGUN)
    assert occasions == {"a": "first"}
    occasions, memory = decide(memory, {"b": True}, BEGUN)
    assert occasions == {"b": "first"}
    assert set(memory) == {"a", "b"}


async def test_an_api_that_is_away_fails_no_run(caplog: pytest.LogCaptureFixture) -> None:
    log, logger = RetainedLog("postgres/shop", Retention(20 * 1024**3)), get_logger("millrace.alerts")
    away = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(away), caplog.at_level(logging.WARNING):
        await alert_retained_logs("shop", "shop", [log])
        assert not await send_alert(AlertMessage("a subject", "a body"), logger)
    memory, channels = (record.getMessage() for record in caplog.records)
    for told, what in ((memory, "the memory of alerts"), (channels, "the channels cannot be read")):
        assert what in told
        assert "http://127.0.0.1:9/api cannot be reached" in told
        assert "Remedy: see that PREFECT_API_URL is right" in told
    assert channels.endswith("(a subject)")
