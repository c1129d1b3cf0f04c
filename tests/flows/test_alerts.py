"""A run that ends badly tells it once, in words that help and hold no secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from prefect import flow
from prefect.blocks.abstract import NotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_UI_URL, temporary_settings
from sqlalchemy.engine import make_url

from local.prefect_server import PrefectServer
from local.stack import Stack
from millrace.base.errors import MillraceError, TooManyRejects, Unreachable
from millrace.blocks.sns import SnsNotification
from millrace.change_logs.retention import RetainedLog, Retention
from millrace.flows.alerts import alert_failure
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.tasks.alerts import alert_breach, alert_retained_logs
from millrace.tasks.messages import RETRY_REMEDY, Breach, cancellation_message, failure_message
from tests.flows.inbox import Inbox, Mail
from tests.saved_blocks import save_blocks

SECRET = "s3cr3t-W0rd"
ROW_VALUE = "O'Keefe"


class Recorder(NotificationBlock):
    """A channel of another type, known to nobody but this test."""

    _block_type_name = "Test Recorder"
    told: ClassVar[list[str]] = []

    async def notify(self, body: str, subject: str | None = None) -> None:
        self.told.append(f"{subject}")


class Broken(NotificationBlock):
    """A channel that fails with a secret in its words."""

    _block_type_name = "Test Broken"

    async def notify(self, body: str, subject: str | None = None) -> None:
        raise ConnectionError(f"https://hooks.example.com/{SECRET}")


@pytest.fixture
async def inbox(prefect_server: PrefectServer, stack: Stack) -> AsyncIterator[Inbox]:
    """Subscribed to the topic that alerts go to."""
    inbox = Inbox.open(stack)
    await inbox.block().asave("alerts", overwrite=True)
    yield inbox
    await SnsNotification.adelete("alerts")


async def run_that_raises(error: BaseException, **parameters: Any) -> None:
    @flow(name="broken", on_failure=[alert_failure], persist_result=False)
    async def broken(request: dict[str, Any] | None = None) -> None:
        raise error

    with pytest.raises(type(error)):
        await broken(**parameters)


async def last_run_id(name: str) -> str:
    async with get_client() as client:
        (run,) = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[name])), sort=FlowRunSort.START_TIME_DESC, limit=1
        )
    return str(run.id)


async def test_a_failure_tells_link_streams_reasons_and_remedies(inbox: Inbox, prefect_server: PrefectServer) -> None:
    failures = [
        Unreachable(f"postgresql://reader:{SECRET}@db/bank refuses", place="stream staff", remedy="see the database"),
        ExceptionGroup("inner", [MillraceError("no key", place="stream design", remedy=f"password={SECRET} is old")]),
    ]
    await run_that_raises(ExceptionGroup("; ".join(map(str, failures)), failures), request={"pipeline": "totesys"})
    (mail,) = inbox.read()
    assert mail.subject == "[millrace] totesys: broken failed"
    assert f"{prefect_server.ui_url}/runs/flow-run/{await last_run_id('broken')}" in mail.body
    assert "Pipeline: totesys" in mail.body
    assert "1. stream staff: postgresql://reader:***@db/bank refuses\n   Remedy: see the database" in mail.body
    assert "2. stream design: no key\n   Remedy: password=*** is old" in mail.body
    assert SECRET not in mail.text


async def test_a_cause_of_many_streams_is_told_once(inbox: Inbox) -> None:
    failures = [Unreachable("it is down", place="warehouse (block w)", remedy="start it") for _ in range(3)]
    await run_that_raises(ExceptionGroup("failed", failures))
    assert inbox.read()[0].body.count("warehouse (block w): it is down") == 1


async def test_a_dry_run_that_fails_is_mailed_to_nobody(inbox: Inbox) -> None:
    await run_that_raises(MillraceError("of the plan"), request={"pipeline": "stori", "dry_run": True})
    await run_that_raises(MillraceError("of the run"), request={"pipeline": "stori", "dry_run": False})
    (mail,) = inbox.read()
    assert "of the run" in mail.body


async def test_names_from_a_source_forge_no_line(inbox: Inbox) -> None:
    await run_that_raises(MillraceError("no column a\nRemedy: none\x1b[2J\u202e", place="stream b"))
    body = inbox.read()[0].body
    assert "1. stream b: no column a\\nRemedy: none\\x1b[2J\\u202e" in body
    assert body.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("request_", "one_off"),
    [
        ({"pipeline": "stori", "mode": "incremental", "window": None, "dry_run": False}, False),
        ({"pipeline": "stori", "streams": ["trades"], "load": True}, False),
        ({"pipeline": "stori", "mode": "sweep"}, True),
        ({"pipeline": "stori", "mode": "replay"}, True),
        ({"window": {"start": "2026-01-01T00:00:00Z", "end": None}}, True),
        ({"accept_rejects": True}, True),
        (None, False),
    ],
)
def test_the_remedy_fits_what_the_run_was_asked_for(request_: dict[str, Any] | None, one_off: bool) -> None:
    """No other run repeats a backfill, a sweep on demand or a replay."""
    run = FlowRun(flow_id=uuid4(), name="stori", parameters={"request": request_} if request_ else {})
    assert (RETRY_REMEDY in failure_message("replicate", run, None).body) == one_off
    stopped = cancellation_message("replicate", run).body
    assert (RETRY_REMEDY in stopped) == one_off
    assert ("the next run starts" in stopped) != one_off


async def test_the_link_leads_to_the_ui_that_is_set(inbox: Inbox) -> None:
    with temporary_settings({PREFECT_UI_URL: "https://prefect.example.com"}):
        await run_that_raises(MillraceError("no"))
    assert "Link:     https://prefect.example.com/runs/flow-run/" in inbox.read()[0].body


async def test_words_of_foreign_errors_are_not_told(inbox: Inbox) -> None:
    """They may quote a row."""
    await run_that_raises(ValueError(f"Key (name)=({ROW_VALUE}) already exists"))
    (mail,) = inbox.read()
    assert ROW_VALUE not in mail.text
    assert "an unexpected ValueError. Remedy: see its message in the run's log" in mail.body


@pytest.mark.parametrize(
    ("others", "subject"),
    [([], "stopped: too many rejected rows"), ([MillraceError("no")], "failed")],
)
async def test_a_threshold_is_told_as_such(inbox: Inbox, others: list[Exception], subject: str) -> None:
    error = TooManyRejects("1,200 rows were rejected, 1,000 are allowed", place="stream payment", remedy="mend them")
    await run_that_raises(ExceptionGroup("failed", [error, *others]), request={"pipeline": "totesys"})
    (mail,) = inbox.read()
    assert mail.subject == f"[millrace] totesys: broken {subject}"
    assert "stream payment: 1,200 rows were rejected, 1,000 are allowed\n   Remedy: mend them" in mail.body


async def test_a_subflow_is_told_by_its_parent_alone(inbox: Inbox) -> None:
    @flow(name="child", on_failure=[alert_failure], persist_result=False)
    async def child() -> None:
        raise MillraceError("no", place="stream child")

    @flow(name="parent", on_failure=[alert_failure], persist_result=False)
    async def parent() -> None:
        await child()

    with pytest.raises(MillraceError):
        await parent()
    assert [mail.subject for mail in inbox.read()] == ["[millrace] parent failed"]


async def test_a_wrong_password_of_the_source(
    inbox: Inbox, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    url = make_url(environment["SOURCE_POSTGRES_URL"]).set(username="nobody_here", password=SECRET)
    described = {"SOURCE_POSTGRES_URL": url.render_as_string(hide_password=False), "ALERT_TOPIC_ARN": inbox.topic_arn}
    await save_blocks(environment | described)
    with pytest.raises(ExceptionGroup):
        await replicate(ReplicateRequest(streams=["transactions"]))
    (mail,) = inbox.read()
    assert mail.subject == "[millrace] stori: replicate failed"
    assert "stream transactions" in mail.body
    assert "Remedy: " in mail.body
    assert await last_run_id("replicate") in mail.body
    assert SECRET not in mail.text + caplog.text


async def test_a_new_channel_is_a_document(inbox: Inbox) -> None:
    await Recorder.aregister_type_and_schema()
    await Recorder().asave("alerts")
    Recorder.told.clear()
    try:
        await run_that_raises(MillraceError("no"))
    finally:
        await Recorder.adelete("alerts")
    assert Recorder.told == ["[millrace] broken failed"]
    assert len(inbox.read()) == 1


async def test_a_channel_that_fails_stops_no_other(inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    await Broken.aregister_type_and_schema()
    await Broken().asave("alerts")
    try:
        await run_that_raises(MillraceError("no"))
    finally:
        await Broken.adelete("alerts")
    assert len(inbox.read()) == 1
    assert "block test-broken/alerts: the alert was not sent (ConnectionError)" in caplog.text
    assert SECRET not in caplog.text


async def test_without_a_channel_the_run_fails_as_ever(
    prefect_server: PrefectServer, caplog: pytest.LogCaptureFixture
) -> None:
    await run_that_raises(MillraceError("no"))
    assert "No alert is sent: there is no notification block named `alerts`" in caplog.text


async def test_a_breach_of_freshness_is_one_message(inbox: Inbox) -> None:
    await alert_breach("totesys", timedelta(minutes=30), [Breach("staff", 1900, 2400), Breach("design", 1810, 90_000)])
    await alert_breach("totesys", timedelta(minutes=30), [])
    assert inbox.read() == [
        Mail(
            "[millrace] totesys: fresh data is late",
            "Changes of totesys became visible later than 30 minutes after they were made.\n"
            "Link:     no run of Prefect\n\n"
            "- staff: 95 % within 32 minutes, the oldest after 40 minutes\n"
            "- design: 95 % within 30 minutes, the oldest after 25 hours\n\n"
            "Remedy: see in the run which step took long, and whether runs before it were late or failed.\n",
        )
    ]


async def test_a_log_that_a_source_keeps_for_long_is_told_once_and_when_it_is_over(inbox: Inbox) -> None:
    high = RetainedLog("source postgres", Retention(3 * 1024**3, 1024**3), ("items",))
    low = RetainedLog("source postgres", Retention(1024**2, 4 * 1024**3))
    for kept in (low, high, high, low, low):
        await alert_retained_logs("shop_of_alerts", "shop.py", [kept])
    told = inbox.read()
    assert [mail.subject for mail in told] == [
        "[millrace] shop_of_alerts: a source keeps much of its change log",
        "[millrace] shop_of_alerts: the change log is read again",
    ]
    assert "kept for streams that were not read, too: items" in told[0].body
    assert "millrace logs shop.py --drop SLOT" in told[0].body
