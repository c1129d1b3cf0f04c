"""What the parameters of all flows have in common: unknown keys are refused, and pipelines are chosen by name.

The path of a file is accepted on a terminal, or where the environment allows it. The form of a deployment offers only
pipelines that ship with Millrace, because a person who may start a run need not be allowed to choose its code.
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
"""The variable that is ``true`` if deployments may run a pipeline by the path of its file."""


class FlowParameters(BaseModel):
    """Base class of a flow's parameters. An unknown key is refused: a misspelt `dry_run` would be a real run."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def pipeline_field(default: str) -> Any:
    """Return the field `pipeline`; its form offers the names of the pipelines that may run."""
    return Field(
        default=default,
        description="A pipeline's name; if the environment allows it, also path/to/module.py:attribute.",
        json_schema_extra=_offer_names,
    )


def requested_pipeline(name: str) -> Pipeline:
    """Return the pipeline that a run asks for. Raises ConfigurationError if there is none.

    It is also raised, before the file is imported, if a deployment gets a path and the environment does not allow that.
    """
    if is_path(name) and deployment.id and not are_paths_allowed():
        raise ConfigurationError(
            "a deployment runs only pipelines that ship with Millrace, by name",
            place=f"pipeline {name}",
            remedy=f"choose from {', '.join(pipeline_names())}, or set {PATHS_VARIABLE}=true where the flows run",
        )
    return find_pipeline(name)


def are_paths_allowed() -> bool:
    """Return whether the environment allows deployments to run a pipeline by the path of its file."""
    return os.environ.get(PATHS_VARIABLE, "").lower() == "true"


def _offer_names(schema: dict[str, Any]) -> None:
    if not are_paths_allowed():
        schema["enum"] = pipeline_names()
