"""Run `millrace doctor` as a task on ECS: with the roles, the network and the secrets of flows.

It needs no worker and no deployment, so it can be run before any schedule is switched on. Its output is one line of
JSON for each outcome in the log of flows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from infra import cloudformation
from infra import image as images
from infra.change import StackChange
from infra.cloud_environment import CloudEnvironment
from infra.cloudformation import Progress, quiet
from infra.pool import template
from infra.secret_values import DELETED, apply_secrets
from infra.settings import runnable
from millrace.base.errors import FatalError
from millrace.checks.check import SECURITY_GROUP_OF_TASKS, CheckOutcome, Result

CONTAINER, STREAM_PREFIX = "check", "check"
COMMAND = ("millrace", "doctor", "--json-lines")
POLL_SECONDS = 2.0
DEADLINE_SECONDS = 600.0
LOG_SECONDS = 60.0
"""How long the log of a task that has stopped may take to appear."""
STARTS = {
    "CannotPullContainer": "see that the image is there, and that the tasks' subnets lead to ECR "
    "(docs/guides/network.md)",
    "pull secrets": "see that every secret has a value (`python -m infra.deploy status`), and that the tasks' subnets "
    "lead to Secrets Manager (docs/guides/network.md)",
}
"""What to do about a task that did not start, by words of ECS."""


def check(cloud: CloudEnvironment, image: str | None = None, progress: Progress = quiet) -> list[CheckOutcome]:
    """Run the doctor as a task and return its outcomes, or one outcome that says why the task did not run.

    Before them come the secrets that are scheduled for deletion: the task runs without them. ``image`` is by default
    the worker's. Raises FatalError if the task does not end.
    """
    lost = list(_find_lost(apply_secrets(cloud, overwrite=False, dry_run=True)))
    chosen = image or cloudformation.worker_image(cloud) or images.image_name(cloud, None)
    with _task_definition(cloud, chosen) as definition_arn:
        task_arn = _run_task(cloud, definition_arn)
        progress(f"task {task_arn.rpartition('/')[2]}")
        stopped = _wait(cloud, task_arn)
    outcomes = [] if stopped.get("stopCode") == "TaskFailedToStart" else _read_outcomes(cloud, task_arn)
    if not outcomes:
        outcomes = [_not_started(stopped)]
    return lost + [replace(one, remedy=_name_places(one.remedy, cloud)) for one in outcomes]


def _find_lost(secrets: Iterable[StackChange]) -> Iterator[CheckOutcome]:
    """Yield an outcome for each secret that is scheduled for deletion, with the command that restores it."""
    for one in secrets:
        if one.detail.startswith(DELETED):
            _, _, remedy = one.detail.partition(": ")
            yield CheckOutcome(one.kind, one.name, "Can be read by tasks.", Result.WRONG, DELETED, remedy)


def _name_places(remedy: str, cloud: CloudEnvironment) -> str:
    """Put what only a deployment knows into a remedy: the tasks' security group, and the environment."""
    remedy = remedy.replace(SECURITY_GROUP_OF_TASKS, cloud.outputs["SecurityGroups"])
    return remedy.replace("--env NAME", f"--env {cloud.settings.name}")


@contextmanager
def _task_definition(cloud: CloudEnvironment, image: str) -> Iterator[str]:
    """Register a definition like that of flows, with the doctor as its command; provide its ARN."""
    client = cloud.client("ecs")
    registered = client.register_task_definition(**_definition(cloud, image))["taskDefinition"]["taskDefinitionArn"]
    try:
        yield registered
    finally:
        client.deregister_task_definition(taskDefinition=registered)


def _definition(cloud: CloudEnvironment, image: str) -> dict[str, Any]:
    filled = template(cloud)["job_configuration"]["task_definition"]
    container = filled["containerDefinitions"][0]
    variables = {one["name"]: one["value"] for one in container["environment"]}
    variables |= {
        "PREFECT_API_URL": cloud.prefect_api_url,
        "AWS_DEFAULT_REGION": cloud.session.region_name,
        # Only outcomes belong into the log.
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
    }
    secrets = [{"name": name, "valueFrom": arn} for name, arn in sorted(cloud.secret_arns.items())]
    pipelines = runnable(cloud.settings.pipelines, cloud.secret_arns)
    return {
        "family": f"{cloud.outputs['TaskFamily']}-check",
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": filled["cpu"],
        "memory": filled["memory"],
        "taskRoleArn": cloud.outputs["TaskRoleArn"],
        "executionRoleArn": cloud.outputs["ExecutionRoleArn"],
        "containerDefinitions": [
            {
                "name": CONTAINER,
                "image": image,
                "memory": container["memory"],
                "command": [*COMMAND, *(word for name in pipelines for word in ("--pipeline", name))],
                "environment": [{"name": name, "value": value} for name, value in sorted(variables.items())],
                "secrets": secrets,
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": cloud.outputs["LogGroup"],
                        "awslogs-region": cloud.session.region_name,
                        "awslogs-stream-prefix": STREAM_PREFIX,
                    },
                },
            }
        ],
    }


def _run_task(cloud: CloudEnvironment, definition_arn: str) -> str:
    network = {
        "subnets": cloud.outputs["Subnets"].split(","),
        "securityGroups": cloud.outputs["SecurityGroups"].split(","),
        "assignPublicIp": cloud.outputs["AssignPublicIp"],
    }
    answer = cloud.client("ecs").run_task(
        cluster=cloud.outputs["ClusterArn"],
        taskDefinition=definition_arn,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": network},
    )
    if answer.get("failures"):
        raise FatalError(
            f"ECS does not run the task: {answer['failures'][0].get('reason')}",
            place=cloud.outputs["ClusterArn"],
            remedy="see what ECS asks for, then run the command again",
        )
    return str(answer["tasks"][0]["taskArn"])


def _wait(cloud: CloudEnvironment, task_arn: str) -> dict[str, Any]:
    """Wait until the task has stopped, and return it as ECS describes it."""
    client, deadline = cloud.client("ecs"), time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        # A task that was started just now may not be known yet.
        tasks: list[dict[str, Any]] = client.describe_tasks(cluster=cloud.outputs["ClusterArn"], tasks=[task_arn])[
            "tasks"
        ]
        if tasks and tasks[0]["lastStatus"] == "STOPPED":
            return tasks[0]
        time.sleep(POLL_SECONDS)
    client.stop_task(cluster=cloud.outputs["ClusterArn"], task=task_arn, reason="the check took too long")
    raise FatalError(
        f"the task {task_arn} did not end within {DEADLINE_SECONDS:.0f} s",
        place="check",
        remedy=f"read the log group {cloud.outputs['LogGroup']}, stream {_stream(task_arn)}",
    )


def _read_outcomes(cloud: CloudEnvironment, task_arn: str) -> list[CheckOutcome]:
    """Return the outcomes in the log of a task that has stopped; nothing if the log does not appear."""
    deadline = time.monotonic() + LOG_SECONDS
    while time.monotonic() < deadline:
        if outcomes := list(_outcomes_of(_log_lines(cloud, task_arn))):
            return outcomes
        time.sleep(POLL_SECONDS)
    return []


def _outcomes_of(lines: Sequence[str]) -> Iterator[CheckOutcome]:
    """Yield the outcomes among the lines of a log, once the last line says that there are no more."""
    found = [json.loads(line) for line in lines if line.startswith("{")]
    if found and "outcomes" in found[-1]:
        for one in found[:-1]:
            yield CheckOutcome(**{**one, "result": Result(one["result"])})


def _log_lines(cloud: CloudEnvironment, task_arn: str) -> list[str]:
    client, lines, token = cloud.client("logs"), list[str](), ""
    place = {"logGroupName": cloud.outputs["LogGroup"], "logStreamName": _stream(task_arn), "startFromHead": True}
    try:
        while True:
            page = client.get_log_events(**place, **({"nextToken": token} if token else {}))
            lines += [event["message"] for event in page["events"]]
            if not page["events"] or page["nextForwardToken"] == token:
                return lines
            token = page["nextForwardToken"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return []
        raise


def _stream(task_arn: str) -> str:
    return f"{STREAM_PREFIX}/{CONTAINER}/{task_arn.rpartition('/')[2]}"


def _not_started(task: Mapping[str, Any]) -> CheckOutcome:
    reason = str(task.get("stoppedReason") or "ECS names no reason")
    remedy = next(
        (told for words, told in STARTS.items() if words in reason), "read the log of the task, if it has one"
    )
    return CheckOutcome("task", "start", "Starts a task on ECS.", Result.WRONG, reason, remedy)
