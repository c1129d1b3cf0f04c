"""Plays histories of change logs from a seed, on servers of their own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from random import Random

from local.stack import Stack
from tests.log_histories.log_history import LogHistory, LogPlaces, log_places_on
from tests.log_histories.log_server import log_server
from tests.log_histories.log_setting import log_setting_of
from tests.log_histories.log_steps import LOG_WEIGHTS, run
from tests.torture.driver import Outcome
from tests.torture.judge import Divergence
from tests.torture.places import WarehouseKind

STEPS = 36
"""Of a history, before the last runs."""


def play_log(
    places: LogPlaces, seed: int, number: int, steps: int = STEPS, warehouse: WarehouseKind | None = None
) -> Outcome:
    """The history of this number; stops at the first thing that is wrong."""
    dice = Random(f"log {seed} {number}")  # noqa: S311 - it must be repeatable, not secret
    setting, outcome = log_setting_of(dice, warehouse), Outcome(number, "log")
    outcome.script.append(str(setting))
    history = LogHistory(places, setting, f"h{seed}_{number}")
    try:
        history.begin()
        _take_steps(history, dice, outcome, steps)
    except Divergence as divergence:
        outcome.problem = str(divergence)
        outcome.lost, outcome.doubled = divergence.lost, divergence.doubled
    except Exception as error:
        outcome.problem = f"{type(error).__name__}: {error}"
    finally:
        history.drop()
    outcome.commits = history.commits
    return outcome


def _take_steps(history: LogHistory, dice: Random, outcome: Outcome, steps: int) -> None:
    chosen = dice.choices([*LOG_WEIGHTS], [*LOG_WEIGHTS.values()], k=steps - 1)
    for step in (run, *chosen):
        outcome.script.append(step.__name__)
        said = step(history, Random(dice.randrange(2**32)))  # noqa: S311 - the same
        outcome.script[-1] += f"  # {said}"
        outcome.steps += 1
    outcome.script.append("end")
    history.end()
    outcome.steps += 1


def play_logs(seed: int, numbers: range) -> Iterator[Outcome]:
    """These histories, on servers of this process's own."""
    logging.disable(logging.ERROR)
    with Stack(prefect=False) as stack, log_server(stack.directory / "log_source") as server:
        places = log_places_on(stack, server, "logs")
        for number in numbers:
            yield play_log(places, seed, number)
