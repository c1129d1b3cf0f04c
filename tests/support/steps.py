"""Steps of one test, each named: what a long life of something real is made of, where one step finds what was left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

PREFIX = "step_"


def steps_of(module: Mapping[str, Any]) -> list[Callable[..., None]]:
    """The functions of a module (``globals()``) whose names begin with ``step_``, in their order."""
    return [function for name, function in module.items() if name.startswith(PREFIX)]


def take_steps(steps: Iterable[Callable[..., None]], subtests: pytest.Subtests, subject: Any) -> None:
    """Take every step with the subject, also after one that fails; each failure is told with the name of its step."""
    for step in steps:
        with subtests.test(msg=step.__name__.removeprefix(PREFIX)):
            step(subject)
