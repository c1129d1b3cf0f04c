"""What the server does by itself: tells once of what no hook sees, starts the transform, and is applied idempotently.

One scene with a real server and a real runner is played once, everything in it at the same time; the tests look at
what came of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Cancelling, Failed, Late, Pending

from local.prefect_server import PrefectServer
from local.processes import Process, neutral_environment
from local.stack import Stack
from millrace.blocks.sns import SnsNotification
from millrace.flows.automation_rules import PREFIX, Patience
from millrace.flows.automations import apply_automations
from millrace.tasks.events import emit_landed, emit_loaded
from tests.flows.inbox import DEADLINE_SECONDS, Inbox, Mail
from tests.flows.watched import watched

REPOSITORY = Path(__file__).parents[2]
SHORTEST = timedelta(seconds=10)
# A failed run's own process needs some seconds to say that it told, on a busy machine more than ten.
SOON = Patience(unheard=timedelta(seconds=20), pending=SHORTEST, late=SHORTEST)
ENDS = {"killed": StateType.CRASHED, "cancelled": StateType.CANCELLED, "fails": StateType.FAILED}
PROMISES = {"quiet": SHORTEST, "busy": SHORTEST}
MANIFESTS = ["staff/a=1/manifest.json", 'design/it\'s <b>/"2".json']


@dataclass
class Scene:
    """What came of it."""

    mails: list[Mail] = field(default_factory=list)
    runs: dict[str, FlowRun] = field(default_factory=dict)
    started: list[FlowRun] = field(default_factory=list)

    def mails_about(self, pipeline: str) -> list[Mail]:
        return [mail for mail in self.mails if mail.subject.startswith(f"[millrace] {pipeline}: ")]


@pytest.fixture(scope="module")
def inbox(prefect_server: PrefectServer, stack: Stack) -> Iterator[Inbox]:
    inbox = Inbox.open(stack)
    inbox.block().save("alerts", overwrite=True)
    yield inbox
    SnsNotification.delete("alerts")
    delete_automations()


@pytest.fixture
def no_automations(inbox: Inbox) -> Iterator[None]:
    """None before the test, and none after it."""
    delete_automations()
    yield
    delete_automations()


def delete_automations() -> None:
    with get_client(sync_client=True) as client:
        for automation in client.read_automations():
            client.delete_automation(automation.id)


@pytest.fixture(scope="module")
def scene(inbox: Inbox, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    directory = tmp_path_factory.mktemp("runner")
    with serving(directory):
        return asyncio.run(play(inbox, directory / "fail"))


async def play(inbox: Inbox, fail: Path) -> Scene:
    scene = Scene()
    async with get_client() as client:
        served = {name: await deployment_id(client, f"{name}/shop") for name in ("watched", "transform")}
        # Deployments that nobody serves: their runs stay as they are set.
        beside = await (await watched.ato_deployment("beside")).aapply()
        idle = await (await watched.ato_deployment("idle")).aapply()
        for name in ("killed", "cancelled", "fails"):
            file = str(fail if name == "fails" else fail.with_name("never"))
            scene.runs[name] = await start(client, served["watched"], name, fail=file)
        # However long that takes here, it must not count as stuck.
        await all_are(client, scene.runs, dict.fromkeys(scene.runs, StateType.RUNNING))
        await apply_automations(fresh_within=PROMISES, flows=["watched"], patience=SOON)
        keeping_busy = asyncio.create_task(keep_busy())
        scene.runs["late"] = await start(client, idle, "late", Late())
        scene.runs["pending"] = await start(client, beside, "pending", Pending())
        emit_landed("shop", "own/shop.py:shop", MANIFESTS, "by-event")
        emit_landed("shop", "shop", ["loaded already"], "by-run")
        await asyncio.to_thread(fail.touch)
        os.kill(process_of(scene.runs["killed"]), signal.SIGKILL)
        await client.set_flow_run_state(scene.runs["cancelled"].id, Cancelling())
        await all_are(client, scene.runs, ENDS)
        await until(lambda: transformed(client, served["transform"], scene), "transform has run")
        # Last, so that whatever would tell of the others a second time has done so when this is told.
        scene.runs["unheard"] = await start(client, beside, "unheard", Pending())
        await client.set_flow_run_state(scene.runs["unheard"].id, Failed(message="password=s3cr3t"), force=True)
        everybody = {*scene.runs, "quiet"}
        await asyncio.to_thread(inbox.wait_for, lambda _: all(about(inbox, name) for name in everybody))
        keeping_busy.cancel()
    scene.mails = inbox.read()
    return scene


def about(inbox: Inbox, pipeline: str) -> bool:
    return any(mail.subject.startswith(f"[millrace] {pipeline}: ") for mail in inbox.mails)


@contextmanager
def serving(directory: Path) -> Iterator[None]:
    """A runner in a process of its own, as it is in a container."""
    runner = Process(
        "runner",
        [sys.executable, "-m", "tests.flows.watched"],
        log_path=directory / "runner.log",
        environment=neutral_environment() | client_settings() | {"PYTHONPATH": str(REPOSITORY)},
    )
    runner.start()
    try:
        yield
    except BaseException:
        sys.stderr.write(runner.log_tail())
        raise
    finally:
        runner.stop()


def client_settings() -> dict[str, str]:
    """Which server a process of ours talks to."""
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    return {name: settings[name] for name in ("PREFECT_API_URL", "PREFECT_HOME")}


async def deployment_id(client: PrefectClient, name: str) -> UUID:
    """Of a deployment that the runner makes when it starts."""
    await until(lambda: is_there(client, name), f"deployment {name}")
    return (await client.read_deployment_by_name(name)).id


async def is_there(client: PrefectClient, name: str) -> bool:
    try:
        await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return False
    return True


async def keep_busy() -> None:
    while True:
        emit_loaded("busy", {}, {})
        await asyncio.sleep(2)


async def start(client: PrefectClient, deployment: UUID, pipeline: str, state: Any = None, **further: str) -> FlowRun:
    parameters = {"request": {"pipeline": pipeline, **further}}
    return await client.create_flow_run_from_deployment(deployment, parameters=parameters, state=state)


async def all_are(client: PrefectClient, runs: dict[str, FlowRun], states: dict[str, StateType]) -> None:
    for name, state in states.items():
        await until(lambda name=name, state=state: is_in(client, runs[name], state), f"{name} is {state}")


def process_of(run: FlowRun) -> int:
    """The process whose environment names the run."""
    named = f"PREFECT__FLOW_RUN_ID={run.id}".encode()
    for directory in Path("/proc").iterdir():
        try:
            if directory.name.isdigit() and named in (directory / "environ").read_bytes():
                return int(directory.name)
        except OSError:
            continue
    raise AssertionError("no process has this run")


async def is_in(client: PrefectClient, run: FlowRun, state: StateType) -> bool:
    found = (await client.read_flow_run(run.id)).state
    return found is not None and found.type == state


async def transformed(client: PrefectClient, deployment: UUID, scene: Scene) -> bool:
    only = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
    scene.started = await client.read_flow_runs(flow_run_filter=only)
    return any(run.state and run.state.is_completed() for run in scene.started)


async def until(reached: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await reached():
        assert time.monotonic() < deadline, f"in vain: {what}"
        await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("pipeline", "subject", "words"),
    [
        ("killed", "watched crashed", "Reason:   Process exited with status code: -9"),
        ("cancelled", "watched was cancelled", "the next run starts where the last load ended"),
        ("fails", "watched failed", "1. stream design: no key\n   Remedy: declare one"),
        ("unheard", "watched failed", "watched unheard failed, and its process could not send an alert."),
        ("pending", "watched pending", "was submitted, but did not start within 10 seconds"),
        ("late", "watched late", "no run of its deployment was picked up for 10 seconds"),
    ],
)
def test_the_end_of_a_run_is_told_once(
    scene: Scene, prefect_server: PrefectServer, pipeline: str, subject: str, words: str
) -> None:
    (mail,) = scene.mails_about(pipeline)
    assert mail.subject == f"[millrace] {pipeline}: {subject}"
    assert words in mail.body
    assert f"{prefect_server.ui_url}/runs/flow-run/{scene.runs[pipeline].id}" in mail.body
    assert f"Pipeline: {pipeline}\nRun:      {scene.runs[pipeline].name}\n" in mail.body
    assert "Remedy: " in mail.body
    assert "s3cr3t" not in mail.text


def test_silence_is_told_once_and_only_of_the_silent(scene: Scene) -> None:
    (mail,) = scene.mails_about("quiet")
    assert mail.subject == "[millrace] quiet: no fresh data for 10 seconds"
    assert "No load of quiet has finished for 10 seconds; the last sign of it was at 20" in mail.body
    assert "Remedy: see whether its runs are late" in mail.body
    assert scene.mails_about("busy") == []


def test_nothing_else_is_told(scene: Scene) -> None:
    assert len(scene.mails) == len(scene.runs) + 1


def test_what_has_landed_starts_the_transform_with_its_manifests(scene: Scene) -> None:
    (run,) = scene.started
    assert run.parameters == {"request": {"pipeline": "own/shop.py:shop", "manifests": MANIFESTS}}


async def ours() -> dict[str, Automation]:
    async with get_client() as client:
        return {one.name: one for one in await client.read_automations() if one.name.startswith(PREFIX)}


async def test_applied_twice_nothing_changes(no_automations: None) -> None:
    first = await apply_automations(fresh_within={"quiet": timedelta(minutes=30)})
    before = await ours()
    second = await apply_automations(fresh_within={"quiet": timedelta(minutes=30)})
    assert [line.split(" ", 1)[1] for line in first if "removed" not in line] == [
        line.removeprefix("unchanged ") for line in second
    ]
    assert {f"{PREFIX}{name}" for name in ("crashed", "failed", "pending", "late", "silent quiet")} <= set(before)
    assert await ours() == before


async def test_changed_renamed_paused_and_foreign(no_automations: None) -> None:
    await apply_automations(fresh_within={"quiet": timedelta(minutes=30), "old name": timedelta(minutes=30)})
    async with get_client() as client:
        foreign = AutomationCore(name="theirs", trigger=EventTrigger(expect={"never"}), actions=[DoNothing()])
        identifier = await client.create_automation(foreign)
        await client.pause_automation((await ours())[f"{PREFIX}late"].id)
        lines = await apply_automations(
            fresh_within={"quiet": timedelta(minutes=31), "new name": timedelta(minutes=30)},
            patience=Patience(late=timedelta(minutes=11)),
        )
        changed = [line for line in lines if not line.startswith("unchanged")]
        assert changed == [
            f"updated (paused) {PREFIX}late",
            f"created {PREFIX}silent new name",
            f"updated {PREFIX}silent quiet",
            f"removed {PREFIX}silent old name",
        ]
        assert not (await ours())[f"{PREFIX}late"].enabled
        assert (await client.read_automation(identifier)) is not None
        await client.delete_automation(identifier)


async def test_a_twin_is_removed(no_automations: None) -> None:
    await apply_automations(fresh_within={})
    async with get_client() as client:
        twin = (await ours())[f"{PREFIX}late"]
        await client.create_automation(AutomationCore.model_validate(twin.model_dump(exclude={"id"})))
        await apply_automations(fresh_within={})
        assert [one.name for one in await client.read_automations()].count(f"{PREFIX}late") == 1


def test_the_command_prints_a_line_for_each(no_automations: None, prefect_server: PrefectServer) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "millrace.flows.automations"],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", **client_settings()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{PREFIX}crashed" in done.stdout
