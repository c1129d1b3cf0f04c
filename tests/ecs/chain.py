"""The chain as somebody at a terminal or in the UI drives it, and what Prefect and ECS tell of a run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleUpdate, DeploymentUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.states import Cancelling

from infra import work_pool
from local.ecs import Ecs
from local.stack import Stack
from tests.ecs.ends import Ends
from tests.flows.inbox import Inbox

DEADLINE_SECONDS = 120
POLL_SECONDS = 0.2
DEPLOYMENT = "replicate/stori"
EVERY = timedelta(seconds=20)
BEGUN = FlowRunFilter(
    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING]))
)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Chain:
    """Prefect's server and worker, the emulator, the agent; both ends, and the inbox of who is told."""

    stack: Stack
    ecs: Ecs
    client: SyncPrefectClient
    ends: Ends
    inbox: Inbox

    @classmethod
    def of(cls, stack: Stack, client: SyncPrefectClient) -> Chain:
        """On a running stack."""
        assert stack.ecs is not None
        topic_arn = next(one["value"] for one in container(client)["environment"] if one["name"] == "ALERT_TOPIC_ARN")
        return cls(stack, stack.ecs, client, Ends(stack), Inbox.open(stack, topic_arn))

    def run(self, **job_variables: Any) -> UUID:
        """Ask for a run, as the UI's button does; gives its id."""
        return self.client.create_flow_run_from_deployment(self.deployment().id, job_variables=job_variables).id

    def cancel(self, run: UUID) -> None:
        """As the UI's button does."""
        self.client.set_flow_run_state(run, Cancelling())

    def scheduled_run(self) -> FlowRun:
        """The first run that a schedule starts; the schedule is gone by then."""
        deployment = self.deployment()
        often = DeploymentScheduleUpdate(slug="often", schedule=IntervalSchedule(interval=EVERY), active=True)
        # Of a deployment that was updated itself Prefect's scheduler takes notice in seconds.
        self.client.update_deployment(deployment.id, DeploymentUpdate(schedules=[often]))
        ours = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
        (run,) = self._awaited(
            lambda: self.client.read_flow_runs(flow_run_filter=BEGUN, deployment_filter=ours, limit=1)
        )
        (made,) = (one for one in self.deployment().schedules if one.slug == often.slug)
        self.client.delete_deployment_schedule(deployment.id, made.id)
        return run

    def deployment(self) -> DeploymentResponse:
        """The one that these tests run."""
        return self.client.read_deployment_by_name(DEPLOYMENT)

    @contextmanager
    def held_agent(self) -> Iterator[None]:
        """Nothing starts tasks until the end of this, as on AWS when there is no capacity."""
        os.kill(self.ecs.agent.process_id, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.ecs.agent.process_id, signal.SIGCONT)

    @contextmanager
    def without_a_secret(self) -> Iterator[None]:
        """One secret of the tasks waits for its deletion until the end of this."""
        arn, client = container(self.client)["secrets"][0]["valueFrom"], self.stack.aws.client("secretsmanager")
        client.delete_secret(SecretId=arn, RecoveryWindowInDays=7)
        try:
            yield
        finally:
            client.restore_secret(SecretId=arn)

    def state_of(self, run: UUID) -> State:
        """The state in which the run ended."""
        self._awaited(lambda: self._state(run).is_final())
        return self._state(run)

    def wait_for_state(self, run: UUID, name: str) -> None:
        """Until the run is in the state of that name."""
        self._awaited(lambda: self._state(run).name == name)

    def _state(self, run: UUID) -> State:
        state = self.flow_run(run).state
        assert state is not None
        return state

    def flow_run(self, run: UUID) -> FlowRun:
        """As Prefect has it now."""
        return self.client.read_flow_run(run)

    def wait_until_submitted(self, run: UUID) -> None:
        """Until Prefect knows the task of the run."""
        self._awaited(lambda: self.flow_run(run).infrastructure_pid)

    def wait_until_held(self, run: UUID) -> None:
        """Until the run waits for the held source."""
        self._awaited(lambda: self._state(run).is_running() and self.ends.is_waited_for())

    def wait_until_logged(self, run: UUID, words: str) -> None:
        """Until the run's log on Prefect's server says so. What the observer writes comes a moment after the state."""
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
        self._awaited(lambda: any(words in log.message for log in self.client.read_logs(wanted)))

    def wait_until_stopped(self, run: UUID) -> None:
        """Until ECS tells that the run's task is stopped."""
        self._awaited(lambda: self.task(run)["lastStatus"] == "STOPPED")

    def task(self, run: UUID) -> dict[str, Any]:
        """As ECS tells it."""
        cluster, _, task_arn = str(self.flow_run(run).infrastructure_pid).partition("::")
        found = self.stack.aws.client("ecs").describe_tasks(cluster=cluster, tasks=[task_arn])
        return dict(found["tasks"][0])

    def _awaited(self, ask: Callable[[], Answer]) -> Answer:
        """The first answer that is not empty."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (answer := ask()):
            assert time.monotonic() < deadline, self.told()
            time.sleep(POLL_SECONDS)
        return answer

    def told(self) -> str:
        """The ends of all logs: of agent, worker and containers."""
        logs = [self.ecs.agent.log_path, self.ecs.worker.log_path, *self.ecs.tasks.glob("*/log")]
        return "\n".join(f"{path}\n{path.read_text()[-3000:]}" for path in logs)


def container(client: SyncPrefectClient) -> dict[str, Any]:
    """As the work pool describes it."""
    definition = client.read_work_pool(work_pool.NAME).base_job_template["job_configuration"]["task_definition"]
    return dict(definition["containerDefinitions"][0])
