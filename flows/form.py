"""What every form of a flow has in common: no key that nobody knows, no number without bounds, pipelines by name.

A file is a pipeline of whoever typed its path: on a terminal, or where the environment allows it. The form of a
deployment offers the registered ones, because whoever may start a run need not be allowed to choose its code.
"""

from __future__ import annotations

import os
from typing import Any

from prefect.runtime import deployment
from pydantic import BaseModel, ConfigDict, Field

from millrace import Pipeline
from millrace.base.errors import ConfigurationError
from millrace.declaration.find import find_pipeline, is_path, pipeline_names

PATHS_VARIABLE = "MILLRACE_ALLOW_PIPELINE_PATHS"
"""``true`` where deployments may run a pipeline by the path of its file."""


class FlowParameters(BaseModel):
    """Parameters of a flow. An unknown key is refused: a misspelt `dry_run` would be a real run."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def pipeline_field(default: str) -> Any:
    """The field `pipeline`; its form offers the names of those that may be run."""
    return Field(
        default=default,
        description="A pipeline's name; where this is allowed, also path/to/module.py:attribute.",
        json_schema_extra=_offer_names,
    )


def asked_pipeline(name: str) -> Pipeline:
    """The pipeline that a run asks for. Raises ConfigurationError when there is none, or, before anything of it is
    imported, when a deployment is given a path and the environment does not allow that."""
    if is_path(name) and deployment.id and not are_paths_allowed():
        raise ConfigurationError(
            "a deployment runs registered pipelines, by their names",
            place=f"pipeline {name}",
            remedy=f"choose from {', '.join(pipeline_names())}, or set {PATHS_VARIABLE}=true where the flows run",
        )
    return find_pipeline(name)


def are_paths_allowed() -> bool:
    """Whether the environment allows deployments to run a pipeline by the path of its file."""
    return os.environ.get(PATHS_VARIABLE, "").lower() == "true"


def _offer_names(schema: dict[str, Any]) -> None:
    if not are_paths_allowed():
        schema["enum"] = pipeline_names()
