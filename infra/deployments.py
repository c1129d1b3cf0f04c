"""Deploy prefect.yaml to Prefect's server: find the deployments that differ, and call `prefect deploy` for them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema

from infra import image as images
from infra import work_pool
from infra.change import Action, StackChange
from infra.cloud_environment import CloudEnvironment
from infra.commands import ROOT, output
from millrace.base.errors import FatalError
from millrace.blocks.names import variables_of
from millrace.declaration.find import find_pipeline

FILE = ROOT / "prefect.yaml"
KIND = "deployment"
SAMPLE_DATA = "sample-data"
ANY_PIPELINE = "any-pipeline"
"""Tag of deployments whose parameters name a pipeline as an example: whoever runs one names another."""
_REFUSED = re.compile(r"Client error '(402|403)|HTTP (402|403)")
_VARIABLE = re.compile(r"\{\{ \$(\w+) \}\}")


@dataclass(frozen=True)
class Declared:
    """One deployment in prefect.yaml, for this image."""

    content: Mapping[str, Any]

    @property
    def flow(self) -> Flow[Any, Any]:
        """The flow that the entrypoint names."""
        module, _, name = self.content["entrypoint"].rpartition(".")
        found: Flow[Any, Any] = getattr(import_module(module), name)
        return found

    @property
    def name(self) -> str:
        """The name ``flow/deployment``, as Prefect's commands accept it."""
        return f"{self.flow.name}/{self.content['name']}"

    @property
    def pipeline(self) -> str:
        """Name of the pipeline that the deployment runs."""
        return str(self.content["parameters"]["request"].get("pipeline") or self.content["name"])

    @property
    def is_for_any_pipeline(self) -> bool:
        """Whether it runs any pipeline: its parameters and its schedule are the operator's, once it was created."""
        return ANY_PIPELINE in self.content["tags"]

    @property
    def pattern(self) -> str:
        """The pattern by which `prefect deploy` finds the deployment."""
        return f"{self.content['entrypoint']}/{self.content['name']}"


def read_declared(image: str) -> list[Declared]:
    """Return the deployments in prefect.yaml."""
    release = _release(image)
    text = _VARIABLE.sub(lambda match: release[match[1]], FILE.read_text())
    return [Declared(one) for one in yaml.safe_load(text)["deployments"]]


def apply_deployments(cloud: CloudEnvironment, image: str, *, dry_run: bool = False) -> list[StackChange]:
    """Deploy what is new or differs, and name what the environment does not want or cannot run.

    A schedule that somebody paused stays paused: Prefect identifies it by its slug. Raises FatalError if `prefect
    deploy` fails.
    """
    changes, differing = [], []
    with cloud.prefect() as client:
        for one in read_declared(image):
            if (reason := _left_out(cloud, one)) is not None:
                changes += [StackChange(KIND, one.name, Action.LEFT, reason)] if reason else []
                continue
            stored = read_stored(client, one.name)
            difference = differences(one, stored) if stored else []
            action = Action.CREATED if stored is None else Action.UPDATED if difference else Action.UNCHANGED
            changes.append(StackChange(KIND, one.name, action, ", ".join(difference)))
            differing += [(one, stored)] if action is not Action.UNCHANGED else []
        if differing and not dry_run:
            if refusal := _deploy([one.pattern for one, _ in differing], image):
                return [StackChange(KIND, ", ".join(one.name for one, _ in differing), Action.LEFT, refusal)]
            for one, stored in differing:
                if stored is not None:
                    _keep_choices(client, one, stored)
                elif cloud.settings.schedules == "paused":
                    _pause(client, one.name)
    return changes


def read_stored(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    """Return the deployment on the server, or None."""
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _left_out(cloud: CloudEnvironment, one: Declared) -> str | None:
    """Return why a deployment is left out; '' if that needs no message, None if it is not left out."""
    settings, is_sample = cloud.settings, SAMPLE_DATA in one.content["tags"]
    if one.is_for_any_pipeline:
        return None
    if one.pipeline not in settings.pipelines or (is_sample and not settings.sample_data):
        return ""
    if missing := sorted(variables_of(find_pipeline(one.pipeline)) - cloud.secret_arns.keys()):
        return f"{', '.join(missing)} has no value"
    return None


def differences(one: Declared, stored: DeploymentResponse) -> list[str]:
    """Return the properties that differ on the server."""
    wanted, found = dict(_declared_properties(one)), dict(_stored_properties(stored))
    return sorted(name for name, value in wanted.items() if found[name] != value)


def _declared_properties(one: Declared) -> Iterator[tuple[str, Any]]:
    said = one.content
    for name in ("version", "description", "entrypoint", "parameters", "enforce_parameter_schema", "tags"):
        if not (name == "parameters" and one.is_for_any_pipeline):
            yield name, said[name]
    yield "concurrency limit", (said["concurrency_limit"]["limit"], said["concurrency_limit"]["collision_strategy"])
    yield "work pool", (said["work_pool"]["name"], said["work_pool"]["work_queue_name"])
    yield "job variables", said["work_pool"]["job_variables"]
    schedules = said.get("schedules", [])
    yield "schedules", sorted((each["slug"], each["cron"], each["timezone"]) for each in schedules)
    yield "parameters' schema", parameter_schema(one.flow).model_dump(exclude_unset=True)


def _stored_properties(stored: DeploymentResponse) -> Iterator[tuple[str, Any]]:
    for name in ("version", "description", "entrypoint", "parameters", "enforce_parameter_schema", "tags"):
        yield name, getattr(stored, name)
    limit, options = stored.global_concurrency_limit, stored.concurrency_options
    yield "concurrency limit", (limit and limit.limit, options and str(options.collision_strategy.value))
    yield "work pool", (stored.work_pool_name, stored.work_queue_name)
    yield "job variables", stored.job_variables
    schedules = [(one.slug, one.schedule) for one in stored.schedules]
    yield (
        "schedules",
        sorted((slug, getattr(each, "cron", ""), getattr(each, "timezone", "")) for slug, each in schedules),
    )
    yield "parameters' schema", stored.parameter_openapi_schema


def _keep_choices(client: SyncPrefectClient, one: Declared, before: DeploymentResponse) -> None:
    """Give a deployment back what an operator chose and `prefect deploy` overwrote.

    These are the parameters of one for any pipeline, and schedules that the file declares as off.
    """
    after = client.read_deployment_by_name(one.name)
    if one.is_for_any_pipeline and after.parameters != before.parameters:
        client.update_deployment(after.id, DeploymentUpdate(parameters=before.parameters))
    was_active = {schedule.slug for schedule in before.schedules if schedule.active}
    for schedule in after.schedules:
        if schedule.slug in was_active and not schedule.active:
            client.update_deployment_schedule(after.id, schedule.id, active=True)


def _pause(client: SyncPrefectClient, name: str) -> None:
    deployment = client.read_deployment_by_name(name)
    for schedule in deployment.schedules:
        client.update_deployment_schedule(deployment.id, schedule.id, active=False)


def _deploy(patterns: Sequence[str], image: str) -> str:
    """Deploy; return why the plan of Prefect Cloud or the role of the key refuses it, or ''."""
    names = [argument for pattern in patterns for argument in ("--name", pattern)]
    try:
        output(sys.executable, "-m", "prefect", "--no-prompt", "deploy", *names, variables=_release(image))
    except FatalError as error:
        if not _REFUSED.search(error.problem):
            raise
        return f"{error.problem}. Remedy: see what the plan of Prefect and the role of the key allow"
    return ""


@cache
def _release(image: str) -> dict[str, str]:
    """Return the variables that prefect.yaml reads."""
    return {
        "MILLRACE_WORK_POOL": work_pool.NAME,
        "MILLRACE_IMAGE": image,
        "MILLRACE_VERSION": images.version(),
        "MILLRACE_IMAGE_READY": "1",
    }
