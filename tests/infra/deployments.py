"""prefect.yaml as it is read, and every key in it that nobody reads: Prefect drops those silently."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import yaml
from prefect import Flow
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.events.schemas.deployment_triggers import DeploymentTriggerTypes
from pydantic import BaseModel

from infra import work_pool
from tests.infra.stack_outputs import OUTPUTS, SECRETS

FILE = Path(__file__).parents[2] / "prefect.yaml"
ANCHORS = "definitions"
"""Where anchors stand; what they hold is checked wherever it is used."""
OF_EVERY_STEP = {"id", "requires"}


def document() -> dict[str, Any]:
    """The whole file, anchors in their places."""
    read: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return read


@cache
def job_variables_schema() -> dict[str, Any]:
    """What the work pool takes."""
    schema: dict[str, Any] = work_pool.fill_template(OUTPUTS, SECRETS)["variables"]
    return schema


def flow_of(deployment: dict[str, Any]) -> Flow[Any, Any]:
    """What its entrypoint names."""
    module, _, name = deployment["entrypoint"].rpartition(".")
    found = getattr(import_module(module), name)
    assert isinstance(found, Flow), deployment["entrypoint"]
    return found


def unknown_keys(read: dict[str, Any]) -> list[str]:
    """Where each key stands that neither Prefect's models, a flow, a step nor the work pool knows."""
    top = {key: value for key, value in read.items() if key != ANCHORS}
    return [
        *_unknown(top, PrefectYamlModel, ""),
        *(one for name in ("build", "push", "pull") for one in _of_steps(read.get(name) or [], name)),
        *(
            one
            for number, deployment in enumerate(read["deployments"])
            for one in _of_deployment(deployment, f"deployments[{number}]")
        ),
    ]


def _of_deployment(deployment: dict[str, Any], place: str) -> Iterator[str]:
    """What Prefect's own models leave open."""
    for name in ("build", "push", "pull"):
        yield from _of_steps(deployment.get(name) or [], f"{place}.{name}")
    yield from _unknown(deployment.get("triggers") or [], list[DeploymentTriggerTypes], f"{place}.triggers")
    known = job_variables_schema()["properties"]
    for key in deployment.get("work_pool", {}).get("job_variables", {}).keys() - known.keys():
        yield f"{place}.work_pool.job_variables.{key}"
    given = [deployment.get("parameters") or {}]
    given += [schedule.get("parameters") or {} for schedule in deployment.get("schedules") or []]
    for parameters in given:
        yield from _of_parameters(parameters, get_type_hints(flow_of(deployment).fn), f"{place}.parameters")


def _of_parameters(parameters: dict[str, Any], known: dict[str, Any], place: str) -> Iterator[str]:
    for name, value in parameters.items():
        if name not in known or name == "return":
            yield f"{place}.{name}"
        else:
            yield from _unknown(value, known[name], f"{place}.{name}")


def _of_steps(steps: list[dict[str, Any]], place: str) -> Iterator[str]:
    for step in steps:
        for path, arguments in step.items():
            module, _, name = path.rpartition(".")
            known = inspect.signature(getattr(import_module(module), name)).parameters
            for key in arguments.keys() - known.keys() - OF_EVERY_STEP:
                yield f"{place}.{path}.{key}"


def _unknown(value: Any, annotation: Any, place: str) -> list[str]:
    """Of several models that a value may be of, the one that knows most of it counts."""
    options = list(_options(annotation))
    if isinstance(value, list):
        items = [get_args(option)[0] for option in options if get_origin(option) is list]
        item = Union[tuple(items)] if items else Any  # noqa: UP007 - the members are known at run time only
        return [one for number, each in enumerate(value) for one in _unknown(each, item, f"{place}[{number}]")]
    if isinstance(value, dict):
        models = [one for one in options if isinstance(one, type) and issubclass(one, BaseModel)]
        return min((_of_model(value, model, place) for model in models), key=len, default=[])
    return []


def _of_model(value: dict[str, Any], model: type[BaseModel], place: str) -> list[str]:
    types = get_type_hints(model, include_extras=True)
    fields = {field.alias or name: types[name] for name, field in model.model_fields.items()}
    return [
        one
        for key, each in value.items()
        for one in (_unknown(each, fields[key], f"{place}.{key}") if key in fields else [f"{place}.{key}"])
    ]


def _options(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _options(get_args(annotation)[0])
    elif get_origin(annotation) in {Union, UnionType}:
        for one in get_args(annotation):
            yield from _options(one)
    else:
        yield annotation
