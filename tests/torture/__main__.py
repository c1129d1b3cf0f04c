"""``make torture HISTORIES=1000 SEED=1``: many random histories against the engine.

The last line says how many histories and steps there were, and what was lost. The exit code is 1 if anything was.
What does not belong here: a history (driver.py), and processes (processes.py).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.torture.driver import Outcome
from tests.torture.processes import outcomes

FEWEST_STEPS = 30
"""Of a history that counts."""
LINE_SECONDS = 60
"""Between two lines of progress where there is no terminal."""


@dataclass
class Tally:
    """What came of all histories."""

    seed: int
    started: float = field(default_factory=time.monotonic)
    histories: int = 0
    steps: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0

    def add(self, outcome: Outcome) -> None:
        """One more; one that stopped early without a problem would be no history."""
        assert outcome.problem or outcome.steps >= FEWEST_STEPS, "a history is too short"
        self.histories += 1
        self.steps += outcome.steps
        self.lost += outcome.lost
        self.doubled += outcome.doubled
        self.wrong += bool(outcome.problem)

    def __str__(self) -> str:
        minutes = (time.monotonic() - self.started) / 60
        return (
            f"{self.histories:,} histories, {self.steps:,} steps, seed {self.seed}: {self.lost} rows lost, "
            f"{self.doubled} rows doubled, {self.wrong} histories wrong, {minutes:.1f} min"
        )


def show(console: Console, seed: int, outcome: Outcome) -> None:
    """A history that went wrong, and how to see it again."""
    console.print(f"history {outcome.number}: {outcome.problem}", markup=False, highlight=False)
    console.print(*outcome.script, sep="\n", markup=False, highlight=False)
    again = f"again: make torture HISTORIES=1 SEED={seed} FIRST={outcome.number}"
    console.print(again, markup=False, highlight=False)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="torture", description="Random histories against the engine.")
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first history")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    console, tally = Console(), Tally(chosen.seed)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        task, told = progress.add_task("histories", total=chosen.histories), time.monotonic()
        for outcome in outcomes(chosen.seed, chosen.first, chosen.histories, chosen.processes):
            tally.add(outcome)
            progress.advance(task)
            if outcome.problem:
                show(console, chosen.seed, outcome)
            if not console.is_terminal and time.monotonic() - told > LINE_SECONDS:
                told = time.monotonic()
                console.print(str(tally), soft_wrap=True, highlight=False)
    console.print(str(tally), soft_wrap=True, highlight=False)
    return 1 if tally.wrong or tally.histories < chosen.histories else 0


if __name__ == "__main__":
    sys.exit(main())
