"""The work pool: its name, its queues, and its base job template filled with what the stack's resources are called.

In base_job_template.json ``${Name}`` stands for an output of the stack, ``{{ name }}`` for a job variable of Prefect.
The task definition is the same for runs of every size, as sizes are overrides of the run: so all deployments of an
image share one revision. ``enableFaultInjection`` stands in it because AWS always returns it, and the worker registers
a new revision for whatever differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from millrace.base.errors import ConfigurationError
from millrace.blocks.environment import VARIABLES

NAME = "millrace-ecs"
TYPE = "ecs"
QUEUES = {"default": 1, "backfill": 10}
"""Priority of each queue; the lowest number is served first."""
TEMPLATE = Path(__file__).with_name("base_job_template.json")

_OUTPUT = re.compile(r"\$\{(\w+)\}")
_SECRET_ARN = re.compile(r"arn:aws[\w-]*:secretsmanager:[\w-]+:\d{12}:secret:\S+")
_NOT_ALWAYS = ("EventsQueueUrl", "EventsDeadLetterQueueUrl")
"""Outputs without which pipelines run that read no queue."""
# The worker takes these out of the environment that it hands to a task only when it is told so by these variables.
_PREFECT_SECRETS = {
    "PREFECT_API_KEY": "prefect_api_key_secret_arn",
    "PREFECT_API_AUTH_STRING": "prefect_api_auth_string_secret_arn",
}
_SECRETS = {variable.name for variable in VARIABLES if variable.secret} | set(_PREFECT_SECRETS)
_URLS = "|".join(name.removesuffix("_URL") for name in sorted(_SECRETS) if name.endswith("_URL"))
_FURTHER = re.compile(rf"({_URLS})_\w+_URL")
"""Pattern of the variables of further connections of these kinds."""


def fill_template(
    outputs: Mapping[str, str], secrets: Mapping[str, str], environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the job template for Prefect.

    ``outputs`` are the stack's by name; ``secrets`` are ARNs in Secrets Manager by variable; ``environment`` are
    variables that are set in plain text, besides what the outputs define. Raises ConfigurationError that names missing
    outputs or a wrong variable.
    """
    declared: dict[str, Any] = json.loads(TEMPLATE.read_text())
    _leave_out(declared, outputs)
    _require(json.dumps(declared), outputs)
    template: dict[str, Any] = _substitute(declared, outputs)
    container = _container(template)
    plain = {one["name"]: one["value"] for one in container["environment"]} | dict(environment or {})
    _check(plain, secrets)
    container["environment"] = [{"name": name, "value": value} for name, value in sorted(plain.items())]
    container["secrets"] = [
        {"name": name, "valueFrom": arn} for name, arn in sorted(secrets.items()) if name not in _PREFECT_SECRETS
    ]
    for name in _PREFECT_SECRETS.keys() & secrets.keys():
        template["variables"]["properties"][_PREFECT_SECRETS[name]]["default"] = secrets[name]
    return template


def is_secret(variable: str) -> bool:
    """Return whether the value of an environment variable must not be shown."""
    return _FURTHER.sub(r"\1_URL", variable) in _SECRETS


def _container(template: Mapping[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = template["job_configuration"]["task_definition"]["containerDefinitions"][0]
    return container


def _leave_out(template: Mapping[str, Any], outputs: Mapping[str, str]) -> None:
    """Take the variables out that only some pipelines need, where there is no such output."""
    container = _container(template)
    absent = {f"${{{name}}}" for name in _NOT_ALWAYS if not outputs.get(name)}
    container["environment"] = [one for one in container["environment"] if one["value"] not in absent]


def _require(text: str, outputs: Mapping[str, str]) -> None:
    if missing := [name for name in dict.fromkeys(_OUTPUT.findall(text)) if not outputs.get(name)]:
        raise ConfigurationError(
            f"the stack has no output {', '.join(missing)}",
            place=TEMPLATE.name,
            remedy="bring the stack up to date (python -m infra.deploy up)",
        )


def _check(plain: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    for name in plain:
        if name in secrets:
            raise ConfigurationError("it is given twice", place=name, remedy="give it in plain, or as a secret")
        if is_secret(name):
            raise ConfigurationError(
                "its value must not stand in a task definition", place=name, remedy="keep it in Secrets Manager"
            )
    for name, arn in secrets.items():
        if not _SECRET_ARN.fullmatch(arn):
            raise ConfigurationError(
                "this is not the ARN of a secret",
                place=name,
                remedy="give the ARN that Secrets Manager tells, never the value",
            )


def _substitute(node: Any, outputs: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _substitute(value, outputs) for key, value in node.items()}
    if isinstance(node, list):
        return [one for item in node for one in _items(item, outputs)]
    return _OUTPUT.sub(lambda match: outputs[match[1]], node) if isinstance(node, str) else node


def _items(item: Any, outputs: Mapping[str, str]) -> Iterator[Any]:
    """Replace outputs in a list; an output with several values becomes as many items."""
    value = _substitute(item, outputs)
    if isinstance(item, str) and _OUTPUT.fullmatch(item):
        yield from value.split(",")
    else:
        yield value
