"""Plays histories from a seed: the same seed and number give the same steps."""

from __future__ import annotations

from random import Random

from tests.support.engine import Together
from tests.torture.driver import Outcome
from tests.versions.capture import Mode
from tests.versions.edits import edits_of
from tests.versions.history import History
from tests.versions.setting import Setting, setting_of

MODES: tuple[Mode, ...] = ("incremental", "incremental", "full", "sweep", "sweep")


async def play(together: Together, seed: int, number: int) -> Outcome:
    """The history of this number; stops at the first thing that is wrong."""
    dice = Random(f"{seed} {number}")  # noqa: S311 - it must be repeatable, not secret
    setting, outcome = setting_of(dice), Outcome(number, "versions")
    outcome.script.append(str(setting))
    history = History(together, setting, f"h{seed}_{number}", dice)
    try:
        await _take_steps(history, setting, dice, outcome)
    except Exception as error:
        outcome.problem = f"{type(error).__name__}: {error}"
    finally:
        history.drop()
    return outcome


async def _take_steps(history: History, setting: Setting, dice: Random, outcome: Outcome) -> None:
    script = outcome.script
    for index in range(setting.runs):
        for edit in edits_of(setting, dice) if index else ():
            script.append(f"{edit.__name__}: {edit(history.tables, dice)}")
        mode = dice.choice(MODES) if index + 1 < setting.runs else "sweep"
        script.append(f"run {mode}")
        await history.run(mode)
        outcome.steps += 1
        if dice.random() < 0.15:
            script.append("load again")
            history.load_again()
    script.append("run sweep")
    await history.run_and_find_nothing("sweep")
    script.append("look at views, reload")
    history.check_views()
    history.reload()
    if setting.rate:
        script.append("read the log at once")
        await history.read_log_at_once(setting.rate)
    outcome.steps += 1
