"""Plays histories from a seed: the same seed and number give the same steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from tests.torture import steps
from tests.torture.history import History
from tests.torture.judge import Divergence
from tests.torture.places import Places
from tests.torture.setting import Setting, setting_of

STEPS = 31
"""Of a history, before the last window, sweep and replay."""
BY_NAME = {step.__name__: step for step in steps.WEIGHTS}


@dataclass(frozen=True)
class Plan:
    """A history before it is played: its steps by name, each with the seed of its dice."""

    setting: Setting
    steps: tuple[tuple[str, int], ...]


@dataclass
class Outcome:
    """How a history of a ``kind`` ended. ``script``: what was done, for people; ``problem``: '' where all was well."""

    number: int
    kind: str = "rows"
    steps: int = 0
    problem: str = ""
    lost: int = 0
    doubled: int = 0
    commits: int = 0
    script: list[str] = field(default_factory=list)

    def told(self, seed: int) -> str:
        """What went wrong, what was done, and how to see it again."""
        again = f"again: make torture KIND={self.kind} HISTORIES=1 SEED={seed} FIRST={self.number}"
        return "\n".join([f"history {self.number}: {self.problem}", *self.script, again])


def plan_of(seed: int, number: int) -> Plan:
    """The history of this number."""
    dice = Random(f"{seed} {number}")  # noqa: S311 - it must be repeatable, not secret
    names = dice.choices([*BY_NAME], [*steps.WEIGHTS.values()], k=STEPS - 1)
    return Plan(setting_of(dice), tuple((name, dice.randrange(2**32)) for name in ("insert", *names)))


def play(places: Places, plan: Plan, name: str, number: int) -> Outcome:
    """Take all steps, then sweep; stops at the first thing that is wrong."""
    outcome = Outcome(number)
    history = History(places, plan.setting, name)
    try:
        _take(history, plan.steps, outcome)
    except Divergence as divergence:
        outcome.problem = str(divergence)
        outcome.lost, outcome.doubled = divergence.lost, divergence.doubled
    except Exception as error:
        outcome.problem = f"{type(error).__name__}: {error}"
    finally:
        history.drop()
    return outcome


def shortened(places: Places, plan: Plan, name: str, found: Outcome) -> Outcome:
    """The same problem, or another one, without every step that it does not need; each is tried once."""
    steps = list(plan.steps[: found.steps + 1])
    for index in reversed(range(len(steps))):
        fewer = steps[:index] + steps[index + 1 :]
        tried = play(places, replace(plan, steps=tuple(fewer)), f"{name}_{index}", found.number)
        if tried.problem:
            found, steps = tried, fewer
    return found


def _take(history: History, planned: Sequence[tuple[str, int]], outcome: Outcome) -> None:
    for name, seed in planned:
        outcome.script.append(f"{name}({seed})")
        said = BY_NAME[name](history, Random(seed))  # noqa: S311 - the same
        outcome.script[-1] += f"  # {said}"
        outcome.steps += 1
    outcome.script.append("end()")
    history.end()
    outcome.steps += 1
