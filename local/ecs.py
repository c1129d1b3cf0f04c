"""ECS beside the stack: a cluster on the emulator, the agent that makes its tasks real, and Prefect's worker for it.

The work pool is made from the same template as on AWS, filled with what the emulator's resources are called.
What does not belong here: what a task is on this machine (ecs_agent.py); deployments (prefect.yaml).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, PREFECT_HOME, temporary_settings

from infra import work_pool
from local.aws import ACCOUNT_ID, AwsServer
from local.ecs_agent import kill_container
from local.prefect_server import TRACKING_OFF, PrefectServer
from local.processes import Process, neutral_environment

CLUSTER = "millrace"
IMAGE = "millrace:local"
"""The one image that can be pulled here: what is installed in this environment."""
TASK_EVENTS_QUEUE = "prefect-ecs-tasks-events"
LOG_GROUP = "/millrace/local/flows"
SECRETS_PREFIX = "millrace/local"
WORKER_QUERY_SECONDS = 2
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


def launch_ecs(directory: Path, *, aws: AwsServer, prefect: PrefectServer, environment: Mapping[str, str]) -> Ecs:
    """Start agent and worker without waiting for them. Emulator and Prefect server answer already.

    ``environment`` is what the product finds the stack with; secrets of it reach the tasks by way of Secrets Manager.
    """
    directory.mkdir(parents=True, exist_ok=True)
    outputs = make_resources(aws, environment)
    plain = {name: value for name, value in _of_tasks(environment).items() if not work_pool.is_secret(name)}
    template = work_pool.filled(outputs, _secrets(aws, environment), plain)
    # The emulator forgets it, unlike AWS; the worker would register a new revision for each run.
    template["job_configuration"]["task_definition"].pop("enableFaultInjection", None)
    _make_work_pool(prefect, template)
    agent, worker = _agent(directory, aws, outputs), _worker(directory, aws, prefect)
    agent.start()
    worker.start()
    return Ecs(agent, worker, directory / "tasks")


def wait_for_ecs(ecs: Ecs) -> Ecs:
    """Wait until the worker polls. Raises Unreachable if it does not start."""
    ecs.worker.wait_until(lambda: WORKER_READY in ecs.worker.log_text())
    return ecs


def make_resources(aws: AwsServer, environment: Mapping[str, str]) -> dict[str, str]:
    """What the stack of infra/stack.yaml has, as far as tasks need it, under the names of its outputs."""
    network = aws.client("ec2")
    vpc = network.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    of_vpc = [{"Name": "vpc-id", "Values": [vpc]}]
    subnets = network.describe_subnets(Filters=of_vpc)["Subnets"]
    groups = network.describe_security_groups(Filters=of_vpc)["SecurityGroups"]
    aws.create_queue(TASK_EVENTS_QUEUE)
    _create_log_group(aws)
    return {
        "ClusterArn": aws.client("ecs").create_cluster(clusterName=CLUSTER)["cluster"]["clusterArn"],
        "TaskFamily": "millrace-local-flow",
        "TaskRoleArn": f"arn:aws:iam::{ACCOUNT_ID}:role/millrace-local-task",
        "ExecutionRoleArn": f"arn:aws:iam::{ACCOUNT_ID}:role/millrace-local-execution",
        "VpcId": vpc,
        "Subnets": ",".join(one["SubnetId"] for one in subnets),
        "SecurityGroups": ",".join(one["GroupId"] for one in groups),
        "AssignPublicIp": "DISABLED",
        "LogGroup": LOG_GROUP,
        "LandingBucket": environment["LANDING_BUCKET"],
        "ProcessedBucket": environment["PROCESSED_BUCKET"],
        "EventsQueueUrl": environment["SOURCE_SQS_EVENTS_URL"],
        "EventsDeadLetterQueueUrl": environment["SOURCE_SQS_EVENTS_DEAD_LETTER_URL"],
        "AlertTopicArn": aws.client("sns").create_topic(Name="millrace-local-alerts")["TopicArn"],
        "WarehouseRoleArn": environment["WAREHOUSE_IAM_ROLE"],
    }


def _create_log_group(aws: AwsServer) -> None:
    logs = aws.client("logs")
    if not logs.describe_log_groups(logGroupNamePrefix=LOG_GROUP)["logGroups"]:
        logs.create_log_group(logGroupName=LOG_GROUP)


def _of_tasks(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what a task gets from its role and from its worker."""
    return {name: value for name, value in environment.items() if not name.startswith(("AWS_", "PREFECT_"))}


def _secrets(aws: AwsServer, environment: Mapping[str, str]) -> dict[str, str]:
    """Each in Secrets Manager; their ARNs by variable."""
    client = aws.client("secretsmanager")
    arns = {}
    for variable, value in _of_tasks(environment).items():
        if work_pool.is_secret(variable):
            name = f"{SECRETS_PREFIX}/{variable}"
            try:
                arns[variable] = client.create_secret(Name=name, SecretString=value)["ARN"]
            except client.exceptions.ResourceExistsException:
                arns[variable] = client.put_secret_value(SecretId=name, SecretString=value)["ARN"]
    return arns


def _make_work_pool(prefect: PrefectServer, template: dict[str, Any]) -> None:
    # The settings of whoever starts the stack may point at another server.
    settings = {PREFECT_API_URL: prefect.api_url, PREFECT_HOME: prefect.home, PREFECT_API_KEY: None}
    with temporary_settings(settings), get_client(sync_client=True) as client:
        pool = WorkPoolCreate(name=work_pool.NAME, type=work_pool.TYPE, base_job_template=template)
        client.create_work_pool(pool, overwrite=True)
        for name, priority in work_pool.QUEUES.items():
            with suppress(ObjectAlreadyExists):
                client.create_work_queue(name, priority=priority, work_pool_name=work_pool.NAME)


def _agent(directory: Path, aws: AwsServer, outputs: Mapping[str, str]) -> Process:
    queue_url = f"{aws.url}/{ACCOUNT_ID}/{TASK_EVENTS_QUEUE}"
    arguments = ["--cluster", outputs["ClusterArn"], "--queue-url", queue_url, "--image", IMAGE]
    return Process(
        "ecs-agent",
        [sys.executable, "-m", "local.ecs_agent", *arguments, "--directory", str(directory / "tasks")],
        log_path=directory / "agent.log",
        environment=neutral_environment() | aws.environment(),
    )


def _worker(directory: Path, aws: AwsServer, prefect: PrefectServer) -> Process:
    return Process(
        "ecs-worker",
        [sys.executable, "-m", "prefect", "worker", "start", "--type", work_pool.TYPE, "--pool", work_pool.NAME],
        log_path=directory / "worker.log",
        environment=neutral_environment()
        | aws.environment()
        | TRACKING_OFF
        | {
            "PREFECT_API_URL": prefect.api_url,
            "PREFECT_HOME": str(directory / "worker-home"),
            "PREFECT_WORKER_QUERY_SECONDS": str(WORKER_QUERY_SECONDS),
            "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
        },
    )
