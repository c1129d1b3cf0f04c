"""ECS for the stack: a cluster on the emulator, the agent that runs its tasks, and Prefect's worker for it.

Stack, secrets and work pool are created by the same steps as on AWS, for the environment `local`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, PREFECT_HOME, temporary_settings

from infra import cloudformation, work_pool
from infra.cloud_environment import CloudEnvironment
from infra.pool import apply_pool
from infra.secret_values import apply_secrets
from infra.settings import read_settings
from local.aws import ACCOUNT_ID, AwsServer
from local.ecs_agent import kill_container
from local.prefect_server import TRACKING_OFF, PrefectServer
from local.processes import Process, neutral_environment

ENVIRONMENT = "local"
"""Its settings: infra/environments/local.toml."""
CLUSTER = "millrace-local"
IMAGE = "millrace:local"
"""The one image that can be pulled here: what is installed in this environment."""
WORKER_QUERY_SECONDS = 2
WORKER_LOG = "worker.log"
WORKER_READY = "started!"


@dataclass(frozen=True)
class Ecs:
    """The running agent and worker."""

    agent: Process
    worker: Process
    tasks: Path

    def kill(self, task_arn: str) -> None:
        """Kill every process of a task's container at once, as a machine that breaks does."""
        kill_container(task_arn.rpartition("/")[2])

    def stop(self) -> None:
        """End both."""
        self.worker.stop()
        self.agent.stop()


def make_environment(aws: AwsServer, prefect: PrefectServer) -> dict[str, str]:
    """Create the stack of infra/stack.yaml on the emulator for the environment `local`; return its outputs.

    Emulator and Prefect server must answer already.
    """
    with _settings_of(prefect):
        target = _target(aws.environment())
        cloudformation.apply_stack(target, "")
        return cloudformation.outputs_of(target)


def launch_ecs(
    directory: Path,
    *,
    aws: AwsServer,
    prefect: PrefectServer,
    outputs: Mapping[str, str],
    environment: Mapping[str, str],
) -> Ecs:
    """Set the secrets, make the work pool, start agent and worker without waiting for them.

    ``outputs`` are the stack's, ``environment`` is what the product finds everything with.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # What an earlier worker wrote would be taken for this one's.
    (directory / WORKER_LOG).unlink(missing_ok=True)
    with _settings_of(prefect):
        target = _target(environment)
        target.outputs = dict(outputs)
        apply_secrets(target, overwrite=True)
        apply_pool(target)
    agent, worker = _agent(directory, aws, outputs), _worker(directory, aws, prefect, outputs)
    agent.start()
    worker.start()
    return Ecs(agent, worker, directory / "tasks")


def wait_for_ecs(ecs: Ecs) -> Ecs:
    """Wait until the worker polls. Raises Unreachable if it does not start."""
    ecs.worker.wait_until(lambda: WORKER_READY in ecs.worker.log_text())
    return ecs


def _target(variables: Mapping[str, str]) -> CloudEnvironment:
    return CloudEnvironment(read_settings(ENVIRONMENT), variables)


@contextmanager
def _settings_of(prefect: PrefectServer) -> Iterator[None]:
    """Return Prefect settings without those of the user, which may point at another server."""
    settings = {PREFECT_API_URL: prefect.api_url, PREFECT_HOME: prefect.home, PREFECT_API_KEY: None}
    with temporary_settings(settings):
        yield


def _agent(directory: Path, aws: AwsServer, outputs: Mapping[str, str]) -> Process:
    queue_url = f"{aws.url}/{ACCOUNT_ID}/{outputs['TaskEventsQueueName']}"
    arguments = ["--cluster", outputs["ClusterArn"], "--queue-url", queue_url, "--image", IMAGE]
    return Process(
        "ecs-agent",
        [sys.executable, "-m", "local.ecs_agent", *arguments, "--directory", str(directory / "tasks")],
        log_path=directory / "agent.log",
        environment=neutral_environment() | aws.environment(),
    )


def _worker(directory: Path, aws: AwsServer, prefect: PrefectServer, outputs: Mapping[str, str]) -> Process:
    return Process(
        "ecs-worker",
        [sys.executable, "-m", "prefect", "worker", "start", "--type", work_pool.TYPE, "--pool", work_pool.NAME],
        log_path=directory / WORKER_LOG,
        environment=neutral_environment()
        | aws.environment()
        | TRACKING_OFF
        | {
            "PREFECT_API_URL": prefect.api_url,
            "PREFECT_HOME": str(directory / "worker-home"),
            "PREFECT_WORKER_QUERY_SECONDS": str(WORKER_QUERY_SECONDS),
            "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
            "PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME": outputs["TaskEventsQueueName"],
        },
    )
