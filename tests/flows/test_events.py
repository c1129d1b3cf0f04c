"""Events from a producer through queue, lake and load into the warehouse, as flows and from a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State

from local.prefect_server import PrefectServer
from local.stack import Stack
from millrace.base.errors import ConfigurationError
from millrace.blocks.load import load_source_queue
from millrace.flows.collect import CollectRequest, extract_queue
from millrace.flows.follow import FollowRequest, follow
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.seed_data.events.stream import DUPLICATE, VALID, messages
from millrace.seed_data.simulate import SimulateEventsRequest, simulate_events
from tests.conftest import unique
from tests.saved_blocks import save_blocks

COUNT, RATE, START = 600, 0.05, datetime(2026, 1, 5, tzinfo=UTC)
QUICK = {"wait_seconds": 1, "flush_seconds": 1, "lanes": 2}
RUN = ReplicateRequest(pipeline="events")


@pytest.fixture
async def events(stack: Stack, prefect_server: PrefectServer, environment: dict[str, str]) -> dict[str, str]:
    """Variables with queues of their own, saved as blocks."""
    dead = unique("dead")
    own = environment | {
        "SOURCE_SQS_EVENTS_DEAD_LETTER_URL": stack.aws.create_queue(dead),
        "SOURCE_SQS_EVENTS_URL": stack.aws.create_queue(unique("events"), dead_letter=dead),
        "PREFECT_API_URL": prefect_server.api_url,
        "PREFECT_HOME": str(prefect_server.home),
    }
    await save_blocks(own)
    return own


def query(variables: dict[str, str], statement: str) -> list[tuple[Any, ...]]:
    url = variables["WAREHOUSE_URL"].replace("redshift+psycopg2", "postgresql")
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


async def left(connection: str) -> int:
    queue = await load_source_queue(connection)
    kinds = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = queue.client().get_queue_attributes(QueueUrl=queue.url, AttributeNames=kinds)
    return sum(map(int, answer["Attributes"].values()))


async def test_every_event_arrives_once_and_what_is_malformed_does_not(events: dict[str, str]) -> None:
    shares = {"duplicates": 0.05, "malformed": 0.04}
    sent = list(islice(messages(1, START, RATE, **shares), COUNT))
    await simulate_events(SimulateEventsRequest(count=COUNT, rate=RATE, start=START, **shares))
    collected = await extract_queue(CollectRequest(**QUICK))
    assert collected["events"].messages == COUNT
    malformed = [one for one in sent if one.kind not in {VALID, DUPLICATE}]
    assert len(malformed) > 10
    report = (await replicate(RUN)).streams[0]
    valid = {one.event_id: one for one in sent if one.kind == VALID}
    duplicates = sum(one.kind == DUPLICATE for one in sent)
    assert (report.read, report.inserted) == (COUNT, len(valid))
    assert (report.unchanged, report.rejected) == (duplicates, len(malformed))
    held = query(events, "SELECT id, event, user_id, context_device_type, context_os_name FROM events.events")
    written = {key: json.loads(one.body) for key, one in valid.items()}
    assert {key: (event, user) for key, event, user, *_ in held} == {
        key: (one["event"], int(one["user_id"]) if one.get("user_id") else None) for key, one in written.items()
    }
    assert {(device, system) for *_, device, system in held if system} == {("ios", "iOS"), ("android", "Android")}
    assert (await left("events"), await left("events-dead-letter")) == (0, len(malformed))
    columns = query(
        events,
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'events' AND table_name = 'events'",
    )
    columns = [name for (name,) in columns if not name.startswith("_")]
    assert len(columns) == 22
    assert "context_device_token" not in columns
    assert (await replicate(RUN)).streams[0].read == 0


async def test_rejected_messages_are_sent_on_in_continuous_mode_too(events: dict[str, str]) -> None:
    sent = list(islice(messages(1, START, RATE, malformed=0.2, duplicates=0), 60))
    await simulate_events(SimulateEventsRequest(count=60, rate=RATE, start=START, malformed=0.2, duplicates=0))
    await extract_queue(CollectRequest(**QUICK))
    await follow(FollowRequest(pipeline="events", every_seconds=1, seconds=0.1))
    assert await left("events-dead-letter") == sum(one.kind != VALID for one in sent) > 0


async def test_sigterm_writes_what_is_in_hand(events: dict[str, str]) -> None:
    """A consumer that would wait for ten minutes."""
    await simulate_events(SimulateEventsRequest(count=50, rate=RATE, start=START, duplicates=0, malformed=0))
    command = [
        sys.executable,
        "-m",
        "millrace.cli.main",
        "collect",
        "events",
        "--flush-seconds",
        "600",
        "--keep-on",
        "--json",
    ]
    consumer = await asyncio.create_subprocess_exec(
        *command, env=os.environ | events, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 60
        queue = await load_source_queue("events")
        while time.monotonic() < deadline:
            answer = queue.client().get_queue_attributes(
                QueueUrl=queue.url, AttributeNames=["ApproximateNumberOfMessages"]
            )
            if answer["Attributes"]["ApproximateNumberOfMessages"] == "0":
                break
            await asyncio.sleep(0.2)
        consumer.send_signal(signal.SIGTERM)
        output, errors = await asyncio.wait_for(consumer.communicate(), 60)
    finally:
        if consumer.returncode is None:
            consumer.kill()
    assert consumer.returncode == 0, errors.decode()
    assert json.loads(output)["events"]["messages"] == 50
    assert (await replicate(RUN)).streams[0].inserted == 50


async def test_a_pipeline_without_a_queue_is_refused(events: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="no stream from a queue"):
        await extract_queue(CollectRequest(pipeline="stori", **QUICK))


async def test_what_was_collected_is_reported_though_another_queue_is_not_there(
    events: dict[str, str], tmp_path: Path
) -> None:
    module = tmp_path / "shop.py"
    streams = (f"Stream('{name}', source='sqs/{name}', key='id', capture=Queue())" for name in ("events", "absent"))
    module.write_text(
        "from millrace import Pipeline, Queue, Stream\n"
        f"pipeline = Pipeline('web_shop', schema='shop', streams=[{', '.join(streams)}])\n"
    )
    await simulate_events(SimulateEventsRequest(count=20, rate=RATE, start=START))
    collect: Any = extract_queue
    state: State[Any] = await collect(CollectRequest(pipeline=str(module), **QUICK), return_state=True)
    assert state.is_failed()
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    async with get_client() as client:
        artifacts = {one.key: one for one in await client.read_artifacts(artifact_filter=only)}
    rows = {row["stream"]: row for row in json.loads(artifacts["collected-web-shop"].data)}
    assert (rows["events"]["status"], rows["events"]["messages"]) == ("collected", 20)
    assert rows["absent"]["status"] == "refused"
    assert "source-sqs-absent" in rows["absent"]["reason"]


async def test_a_plan_names_what_was_collected(events: dict[str, str]) -> None:
    await simulate_events(SimulateEventsRequest(count=20, rate=RATE, start=START))
    await extract_queue(CollectRequest(**QUICK))
    [plan] = (await replicate(ReplicateRequest(pipeline="events", dry_run=True))).plans
    assert plan.query.startswith("1 objects of s3://")
    assert not query(events, "SELECT 1 FROM information_schema.tables WHERE table_schema = 'events'")
