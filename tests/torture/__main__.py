"""``make torture HISTORIES=1000 SEED=1``: many random histories against the engine, of replicated rows or, with
``KIND=versions``, of what models keep of them, or with ``KIND=log``, of change logs.

The last line says how many histories and steps there were, and what was lost. The exit code is 1 if anything was.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.log_histories.log_driver import play_logs
from tests.torture.driver import Outcome
from tests.torture.processes import Player, outcomes, play_rows
from tests.versions.places import play_versions


@dataclass(frozen=True)
class Kind:
    """Of histories; one of fewer than ``fewest_steps`` does not count."""

    play_all: Player
    fewest_steps: int


KINDS = {"rows": Kind(play_rows, 30), "versions": Kind(play_versions, 6), "log": Kind(play_logs, 30)}
LINE_SECONDS = 60
"""Between two lines of progress where there is no terminal."""


@dataclass
class Tally:
    """What came of all histories."""

    seed: int
    fewest_steps: int
    started: float = field(default_factory=time.monotonic)
    histories: int = 0
    steps: int = 0
    commits: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0

    def add(self, outcome: Outcome) -> None:
        """One more; one that stopped early without a problem would be no history."""
        assert outcome.problem or outcome.steps >= self.fewest_steps, "a history is too short"
        self.histories += 1
        self.steps += outcome.steps
        self.commits += outcome.commits
        self.lost += outcome.lost
        self.doubled += outcome.doubled
        self.wrong += bool(outcome.problem)

    def __str__(self) -> str:
        minutes = (time.monotonic() - self.started) / 60
        commits = f"{self.commits:,} commits, " if self.commits else ""
        return (
            f"{self.histories:,} histories, {self.steps:,} steps, {commits}seed {self.seed}: {self.lost} rows lost, "
            f"{self.doubled} rows doubled, {self.wrong} histories wrong, {minutes:.1f} min"
        )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="torture", description="Random histories against the engine.")
    parser.add_argument("--kind", choices=[*KINDS], default="rows")
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first history")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    kind = KINDS[chosen.kind]
    console, tally = Console(), Tally(chosen.seed, kind.fewest_steps)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        task, told = progress.add_task("histories", total=chosen.histories), time.monotonic()
        for outcome in outcomes(kind.play_all, chosen.seed, chosen.first, chosen.histories, chosen.processes):
            tally.add(outcome)
            progress.advance(task)
            if outcome.problem:
                console.print(outcome.told(chosen.seed), markup=False, highlight=False)
            if not console.is_terminal and time.monotonic() - told > LINE_SECONDS:
                told = time.monotonic()
                console.print(str(tally), soft_wrap=True, highlight=False)
    console.print(str(tally), soft_wrap=True, highlight=False)
    return 1 if tally.wrong or tally.histories < chosen.histories else 0


if __name__ == "__main__":
    sys.exit(main())
