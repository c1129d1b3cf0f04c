"""Pipelines that a program gives as values: their names in this process, and their names for other processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import ModuleType

from millrace.base.errors import ConfigurationError
from millrace.declaration.pipeline import Pipeline

_PREFIX = "python:"
_SCRIPT = "__main__"
_values: dict[str, Pipeline] = {}


def register_value(pipeline: Pipeline) -> str:
    """Return the name under which this process, and no other one, finds a pipeline (``python:shop``)."""
    for number in count(1):
        name = f"{_PREFIX}{pipeline.name}" + (f"-{number}" if number > 1 else "")
        # Not an equal one: what a stream rewrites by expressions of Polars is no part of a comparison.
        if _values.setdefault(name, pipeline) is pipeline:
            return name
    raise AssertionError


def is_value(name: str) -> bool:
    """Return whether ``name`` is one that ``register_value`` returns."""
    return name.startswith(_PREFIX)


def find_value(name: str) -> Pipeline:
    """Return the pipeline that was registered under a name. Raises ConfigurationError in another process."""
    if name not in _values:
        raise ConfigurationError(
            "it was given as a value to a flow of another process",
            place=f"pipeline {name}",
            remedy="name it by file.py:attribute or package.module:attribute",
        )
    return _values[name]


def name_by_file(pipeline: Pipeline) -> str:
    """Return ``/path/to/file.py:attribute`` of a pipeline that a module of this process holds.

    Raises ConfigurationError if none does.
    """
    for module, attribute in _holders(pipeline):
        if file := getattr(module, "__file__", None):
            return f"{Path(file).resolve()}:{attribute}"
    raise _no_name(pipeline)


def name_by_module(pipeline: Pipeline) -> str:
    """Return ``package.module:attribute`` of a pipeline that an imported module holds.

    Raises ConfigurationError if none does, or only the script that runs: other processes cannot import that.
    """
    for module, attribute in _holders(pipeline):
        if module.__name__ != _SCRIPT and getattr(module, "__spec__", None):
            return f"{module.__name__}:{attribute}"
    raise _no_name(pipeline)


def _holders(pipeline: Pipeline) -> Iterator[tuple[ModuleType, str]]:
    """Yield each module with an attribute that is the pipeline; the script that runs comes last."""
    # Multiprocessing lists the script a second time, by another name.
    for module in sorted(sys.modules.values(), key=lambda module: getattr(module, "__name__", "") == _SCRIPT):
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is pipeline:
                yield module, attribute


def _no_name(pipeline: Pipeline) -> ConfigurationError:
    return ConfigurationError(
        "the process that runs it cannot find it, because no module that it can import has it as an attribute",
        place=f"pipeline {pipeline.name}",
        remedy="assign it to a name at the top of a module (`pipeline = Pipeline(...)`) and import it from there, or "
        "give file.py:attribute or package.module:attribute in its place",
    )
