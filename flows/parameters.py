"""What the parameters of all flows have in common: unknown keys are refused, and pipelines are chosen by name.

A file or a module is accepted on a terminal, or where the environment allows it. The form of a deployment offers only
pipelines that ship with Millrace and those that the environment names, because a person who may start a run need not be
allowed to choose its code.
"""

from __future__ import annotations

import os
from typing import Any

from prefect.runtime import deployment
from pydantic import BaseModel, ConfigDict, Field

from millrace import Pipeline
from millrace.base.errors import ConfigurationError
from millrace.declaration.find import find_pipeline, is_path, pipeline_names
from millrace.declaration.values import is_value

PATHS_VARIABLE = "MILLRACE_ALLOW_PIPELINE_PATHS"
"""The variable that is ``true`` if deployments may run a pipeline by the path of any file."""
PIPELINES_VARIABLE = "MILLRACE_PIPELINES"
"""The variable with the pipelines that deployments may run besides those that ship, by file or module, with commas."""


class FlowParameters(BaseModel):
    """Base class of a flow's parameters. An unknown key is refused: a misspelt `dry_run` would be a real run."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def pipeline_field(default: str) -> Any:
    """Return the field `pipeline`; its form offers the names of the pipelines that may run."""
    return Field(
        default=default,
        description="A pipeline's name; if the environment allows it, file.py:attribute or package.module:attribute.",
        json_schema_extra=_offer_names,
    )


def requested_pipeline(name: str) -> Pipeline:
    """Return the pipeline that a run asks for. Raises ConfigurationError if there is none.

    It is also raised, before anything is imported, if a deployment gets a file or a module that the environment does
    not allow. A value can only come from the program that runs, which chose its code itself.
    """
    if deployment.id and is_path(name) and not is_value(name) and not _is_allowed(name):
        raise ConfigurationError(
            "a deployment runs only pipelines that ship with Millrace, and those that the environment names",
            place=f"pipeline {name}",
            remedy=f"choose from {', '.join(allowed_names())}, or set {PIPELINES_VARIABLE}={name} where the flows run",
        )
    return find_pipeline(name)


def allowed_names() -> list[str]:
    """Return the names of the pipelines that ship with Millrace, and those that the environment adds."""
    return [*pipeline_names(), *_added_names()]


def allow_pipeline(name: str) -> None:
    """Let the deployments of this process, and of the processes that it starts, run a file or a module as well."""
    os.environ[PIPELINES_VARIABLE] = ",".join(dict.fromkeys([*_added_names(), name]))


def _added_names() -> list[str]:
    return [name.strip() for name in os.environ.get(PIPELINES_VARIABLE, "").split(",") if name.strip()]


def _is_allowed(name: str) -> bool:
    return name in _added_names() or _are_paths_allowed()


def _are_paths_allowed() -> bool:
    return os.environ.get(PATHS_VARIABLE, "").lower() == "true"


def _offer_names(schema: dict[str, Any]) -> None:
    if not _are_paths_allowed():
        schema["enum"] = allowed_names()
