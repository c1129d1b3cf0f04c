"""The short profile of `make torture`: Hypothesis chooses the steps, and finds the shortest history that goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from hypothesis.strategies import integers

from local.stack import Stack
from millrace.runs.extract import Extraction
from millrace.runs.look_up import LookUps
from millrace.warehouse import apply
from tests.conftest import unique
from tests.torture.driver import BY_NAME, STEPS, Plan, plan_of, play, shortened
from tests.torture.history import History
from tests.torture.places import Places, WarehouseKind, places_on
from tests.torture.setting import Setting, SourceKind, setting_of
from tests.torture.short import Cut
from tests.torture.steps import WEIGHTS
from tests.torture.values import Key

EXAMPLES: dict[WarehouseKind, int] = {"postgres": 3, "redshift": 2}
SEEDS = integers(0, 2**32 - 1)
PROFILE = settings(
    stateful_step_count=STEPS,
    derandomize=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    # A history is seconds of real servers; Hypothesis expects examples of milliseconds.
    suppress_health_check=tuple(HealthCheck),
)


@pytest.fixture(scope="module")
def places(stack: Stack) -> Iterator[Places]:
    """One for all histories."""
    stack.warehouse.clear()
    with places_on(stack, unique("torture")) as fresh:
        yield fresh


def _rule(name: str) -> Any:
    def take(machine: HistoryMachine, seed: int) -> None:
        BY_NAME[name](machine.history, _dice(seed))

    return rule(seed=SEEDS)(take)


class HistoryMachine(RuleBasedStateMachine):
    """One history; a step that is taken often is as many rules."""

    def __init__(self, places: Places, source: SourceKind, warehouse: WarehouseKind) -> None:
        super().__init__()
        self._places, self._source, self._warehouse = places, source, warehouse

    @initialize(seed=SEEDS)
    def begin(self, seed: int) -> None:
        dice = _dice(seed)
        setting = setting_of(dice, self._source, self._warehouse)
        self.history = History(self._places, setting, f"machine_{self._source}_{seed}")
        BY_NAME["insert"](self.history, dice)

    for _step, _weight in WEIGHTS.items():
        for _number in range(_weight):
            locals()[f"{_step.__name__}_{_number}"] = _rule(_step.__name__)

    def teardown(self) -> None:
        if not hasattr(self, "history"):
            return
        try:
            self.history.end()
        finally:
            self.history.drop()


def _dice(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - it must be repeatable, not secret


@pytest.mark.parametrize("warehouse", ["postgres", "redshift"])
@pytest.mark.parametrize("source", ["postgres", "mongo"])
def test_any_history_converges(places: Places, source: SourceKind, warehouse: WarehouseKind) -> None:
    """After every run the target is what it must be; after a sweep and a replay it is the source."""
    chosen = settings(PROFILE, max_examples=EXAMPLES[warehouse])
    run_state_machine_as_test(lambda: HistoryMachine(places, source, warehouse), settings=chosen)


def test_a_history_is_told_by_its_seed_and_number() -> None:
    """What `make torture` prints can be played again."""
    assert plan_of(1, 7) == plan_of(1, 7)
    assert len({plan_of(1, number) for number in range(5)} | {plan_of(2, 0)}) == 6
    assert len(plan_of(1, 7).steps) == STEPS


def test_a_row_that_stays_is_found_and_told_in_as_few_steps_as_it_takes(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine itself: an engine that forgets deletes."""
    monkeypatch.setattr(Extraction, "remove", lambda *_: None)
    names = ("insert", "window", "update", "delete")
    plan = Plan(Setting("postgres", "postgres"), tuple((name, 1) for name in names))
    found = play(places, plan, "kept", 0)
    assert (found.steps, "wrong 1" in found.problem) == (len(names), True)
    assert [line.partition("(")[0] for line in shortened(places, plan, "kept", found).script] == [
        "insert", "window", "delete", "end",
    ]  # fmt: skip


def test_a_row_that_a_cut_answer_deletes_is_found(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine itself: an engine that takes what a look-up by key does not find for deleted."""

    async def sees_none(*_: object) -> list[Key]:
        return []

    def cut_keys(history: History, dice: Random) -> str:
        return history.run("sweep", cut=Cut(("keys",), most=0))

    monkeypatch.setitem(BY_NAME, "cut_short", cut_keys)
    plan = Plan(
        Setting("postgres", "postgres"), tuple((name, 1) for name in ("insert", "window", "update", "cut_short"))
    )
    assert play(places, plan, "told", 0).problem == ""
    monkeypatch.setattr(LookUps, "_scan_again", sees_none)
    assert "lost 1" in play(places, plan, "deleted", 0).problem


def test_a_delete_that_nobody_allowed_is_found(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine itself: an engine without the bound of deletes."""

    def refuse(history: History, dice: Random) -> str:
        return history.refused("sweep")

    monkeypatch.setitem(BY_NAME, "refuse", refuse)
    plan = Plan(Setting("postgres", "postgres"), tuple((name, 1) for name in ("insert", "window", "delete", "refuse")))
    assert play(places, plan, "bounded", 0).problem == ""
    monkeypatch.setattr(apply, "_refuse_too_many_deletes", lambda *_: None)
    assert "nobody had allowed it" in play(places, plan, "unbounded", 0).problem
