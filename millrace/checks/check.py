"""One check of a place, and its outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from enum import StrEnum

from millrace.base.errors import MillraceError
from millrace.base.redact import redact

PLACES_AT_ONCE = 8
SECURITY_GROUP_OF_TASKS = "SECURITY_GROUP_OF_TASKS"
"""Stands in a remedy where the security group of the tasks belongs, which only a deployment knows."""


class Result(StrEnum):
    """How a check ended."""

    OK = "ok"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """A check of a place."""

    place: str
    """What is checked: ``source-postgres``, ``landing``."""
    name: str
    """Name of the check: ``login``."""
    does: str
    """What the check does, for people."""
    run: Callable[[], str]
    """Returns what was found. Raises a MillraceError with the remedy if something is wrong."""
    is_needed: bool = False
    """Whether the checks of the place that follow can only be made if this one is ok."""


@dataclass(frozen=True)
class CheckOutcome:
    """How a check ended, what was found, and what fixes it."""

    place: str
    name: str
    does: str
    result: Result
    found: str
    """What was found, or what is wrong."""
    remedy: str = ""
    """The command or change that fixes it; '' if nothing is wrong."""


def run_checks(places: Sequence[Sequence[Check]]) -> list[CheckOutcome]:
    """Run the checks of every place, places side by side, and return the outcomes in the order of the checks."""
    with ThreadPoolExecutor(PLACES_AT_ONCE) as pool:
        # Each with the settings of Prefect that hold here.
        running = [pool.submit(copy_context().run, _run_place, checks) for checks in places]
        return [outcome for task in running for outcome in task.result()]


def failed_check(place: str, name: str, does: str, error: MillraceError) -> Check:
    """Return a check that always ends with this error: what it would look at cannot even be described."""

    def fail() -> str:
        raise error

    return Check(place, name, does, fail)


def _run_place(checks: Sequence[Check]) -> list[CheckOutcome]:
    outcomes: list[CheckOutcome] = []
    failed = ""
    for check in checks:
        if failed:
            found = f"not tried, because the check `{failed}` failed"
            outcomes.append(CheckOutcome(check.place, check.name, check.does, Result.SKIPPED, found))
            continue
        outcomes.append(outcome := _run(check))
        if check.is_needed and outcome.result is Result.WRONG:
            failed = check.name
    return outcomes


def _run(check: Check) -> CheckOutcome:
    try:
        return CheckOutcome(check.place, check.name, check.does, Result.OK, redact(check.run()))
    except MillraceError as error:
        found, remedy = redact(error.problem), redact(error.remedy)
    # A check must not end the others, and the words of an unknown error may hold a secret.
    except Exception as error:
        found, remedy = f"an unexpected {type(error).__name__}", "run `millrace doctor` with --debug, and report it"
    return CheckOutcome(check.place, check.name, check.does, Result.WRONG, found, remedy)
