"""The agent of ECS: start a process for every task that the emulator keeps as a record.

``python -m local.ecs_agent``. A container is a process with its own environment, home and directory; only the name of
its image counts. As on AWS, an unknown image cannot be pulled, and a missing secret keeps a task from starting. Changes
of a task go to the queue that Prefect's worker watches.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from uuid import uuid4

import boto3
from botocore.exceptions import ClientError

from local.processes import dies_with_parent

POLL_SECONDS = 0.2
STOP_SECONDS = 30
"""ECS's own grace between SIGTERM and SIGKILL, where the container has no stopTimeout."""
CONTAINER_VARIABLE = "MILLRACE_CONTAINER"
"""Set in every process of a container, wherever it was moved to since: the id of its task."""
SIGNALLED_EXIT_CODE = 128
LOG_LINES = 1_000
"""The last lines of a log that are sent; a request takes no more than 10,000 events."""


class CannotStart(Exception):
    """The reason, in ECS's words."""


@dataclass
class Container:
    """One running container. ``killed_after`` is a monotonic time in seconds, once it was asked to stop."""

    identifier: str
    popen: subprocess.Popen[bytes]
    stop_seconds: int
    log_path: Path
    log_place: Mapping[str, str] | None
    """Group and stream in CloudWatch that the log belongs to; None: the container has no awslogs."""
    killed_after: float = field(default=0.0)

    def stop(self) -> None:
        """Ask its first process to end; after the grace all of it is killed."""
        if not self.killed_after:
            self.killed_after = time.monotonic() + self.stop_seconds
            self.popen.terminate()
        elif time.monotonic() > self.killed_after:
            kill_container(self.identifier)

    def exit_code(self) -> int | None:
        """Return the exit code as ECS reports it; None while the task runs.

        A container ends with its first process: the others are killed.
        """
        code = self.popen.poll()
        if code is None:
            return None
        kill_container(self.identifier)
        return code if code >= 0 else SIGNALLED_EXIT_CODE - code


class Agent:
    """Follows the tasks of one cluster. ``images`` can be pulled; AWS's variables of this process are the task role."""

    def __init__(self, cluster: str, queue_url: str, images: Sequence[str], directory: Path) -> None:
        self.cluster, self.queue_url, self.images, self.directory = cluster, queue_url, images, directory
        self.ecs, self.sqs, self.secrets = (boto3.client(name) for name in ("ecs", "sqs", "secretsmanager"))
        self.containers: dict[str, Container] = {}

    def step(self) -> None:
        """Start what is new, stop what shall stop, tell what has ended."""
        wanted = self.ecs.list_tasks(cluster=self.cluster, desiredStatus="RUNNING")["taskArns"]
        for task_arn in set(wanted) - self.containers.keys():
            self._start(task_arn)
        for task_arn, container in list(self.containers.items()):
            if (code := container.exit_code()) is not None:
                del self.containers[task_arn]
                self._send_log(container)
                self._stop_task(task_arn, code)
            elif task_arn not in wanted:
                container.stop()

    def stop(self) -> None:
        """Kill every container: without its agent none is left."""
        for container in self.containers.values():
            kill_container(container.identifier)

    def _start(self, task_arn: str) -> None:
        task = self._task(task_arn)
        definition = self.ecs.describe_task_definition(taskDefinition=task["taskDefinitionArn"])["taskDefinition"]
        try:
            self.containers[task_arn] = self._container(task, definition["containerDefinitions"][0])
        except CannotStart as reason:
            self.ecs.stop_task(cluster=self.cluster, task=task_arn, reason=str(reason))
            self._tell(task_arn, stopCode="TaskFailedToStart", stoppedReason=str(reason), reason=str(reason))
        else:
            self._tell(task_arn)

    def _container(self, task: Mapping[str, Any], container: Mapping[str, Any]) -> Container:
        if container["image"] not in self.images:
            raise CannotStart(f"CannotPullContainerError: failed to resolve ref {container['image']}: not found")
        identifier = task["taskArn"].rpartition("/")[2]
        overrides: dict[str, Any] = next(iter(task["overrides"]["containerOverrides"]), {})
        home = self.directory / identifier
        home.mkdir(parents=True)
        variables = {
            **_machine(identifier, home),
            **_pairs(container.get("environment", [])),
            **{one["name"]: self._secret(one["valueFrom"]) for one in container.get("secrets", [])},
            **_pairs(overrides.get("environment", [])),
            "PREFECT_HOME": str(home / "prefect"),
        }
        popen = _process(overrides.get("command") or container["command"], variables, home)
        log_place = _log_place(container, identifier)
        return Container(identifier, popen, container.get("stopTimeout", STOP_SECONDS), home / "log", log_place)

    def _send_log(self, container: Container) -> None:
        """Write what the container printed to where its definition says, as the log driver of AWS does."""
        if container.log_place is None:
            return
        client, lines = boto3.client("logs"), container.log_path.read_text(errors="replace").splitlines()
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "message": line} for line in lines[-LOG_LINES:] if line]
        client.create_log_stream(**container.log_place)
        if events:
            client.put_log_events(**container.log_place, logEvents=events)

    def _secret(self, arn: str) -> str:
        try:
            return str(self.secrets.get_secret_value(SecretId=arn)["SecretString"])
        except ClientError as error:
            problem = "ResourceInitializationError: unable to pull secrets or registry auth"
            raise CannotStart(f"{problem}: {error.response['Error']['Message']}") from None

    def _stop_task(self, task_arn: str, code: int) -> None:
        if self._task(task_arn)["lastStatus"] != "STOPPED":
            reason = "Essential container in task exited"
            self.ecs.stop_task(cluster=self.cluster, task=task_arn, reason=reason)
            self._tell(task_arn, stopCode="EssentialContainerExited", stoppedReason=reason, exitCode=code)
        else:
            self._tell(task_arn, exitCode=code)

    def _task(self, task_arn: str) -> dict[str, Any]:
        task: dict[str, Any] = self.ecs.describe_tasks(cluster=self.cluster, tasks=[task_arn])["tasks"][0]
        return task

    def _tell(self, task_arn: str, **changes: Any) -> None:
        """Send the event that EventBridge sends on a change.

        It has no exit code, because the emulator does not know the real one.
        """
        task = json.loads(json.dumps(self._task(task_arn), default=str))
        for container in task["containers"]:
            container.pop("exitCode", None)
            container |= {name: changes[name] for name in ("exitCode", "reason") if name in changes}
        task |= {name: value for name, value in changes.items() if name not in ("exitCode", "reason")}
        print(task_arn, task["lastStatus"], changes, flush=True)
        event = {
            "version": "0",
            "id": str(uuid4()),
            "detail-type": "ECS Task State Change",
            "source": "aws.ecs",
            "time": datetime.now(UTC).isoformat(),
            "resources": [task_arn],
            "detail": task,
        }
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=json.dumps(event))


def kill_container(identifier: str) -> None:
    """Kill every process of the container of this task at once. Without /proc (macOS) there is none to be found."""
    mark = f"{CONTAINER_VARIABLE}={identifier}".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environment.read_bytes().split(b"\0"):
                os.kill(int(environment.parent.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def _machine(identifier: str, home: Path) -> dict[str, str]:
    """Return the variables that every container has.

    They name programs, a home and the credentials of its role, and nothing of the host.
    """
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    role = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return role | {CONTAINER_VARIABLE: identifier, "PATH": programs, "HOME": str(home), "LANG": "C.UTF-8"}


def _log_place(container: Mapping[str, Any], identifier: str) -> dict[str, str] | None:
    logging = container.get("logConfiguration") or {}
    options = logging.get("options", {})
    if logging.get("logDriver") != "awslogs" or "awslogs-stream-prefix" not in options:
        return None
    stream = f"{options['awslogs-stream-prefix']}/{container['name']}/{identifier}"
    return {"logGroupName": options["awslogs-group"], "logStreamName": stream}


def _pairs(variables: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in variables}


def _process(command: Sequence[str], variables: Mapping[str, str], home: Path) -> subprocess.Popen[bytes]:
    if shutil.which(command[0], path=variables["PATH"]) is None:
        raise CannotStart(f'CannotStartContainerError: exec: "{command[0]}": executable file not found in $PATH')
    with (home / "log").open("ab") as log:
        return subprocess.Popen(
            dies_with_parent(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(variables),
            cwd=home,
            start_new_session=True,
        )


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def main() -> NoReturn:
    """Follow the cluster's tasks until SIGTERM."""
    parser = argparse.ArgumentParser()
    for name in ("--cluster", "--queue-url"):
        parser.add_argument(name, required=True)
    parser.add_argument("--image", action="append", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    agent = Agent(arguments.cluster, arguments.queue_url, arguments.image, arguments.directory)
    try:
        while True:
            agent.step()
            time.sleep(POLL_SECONDS)
    finally:
        agent.stop()


if __name__ == "__main__":
    main()
