"""The order in which tests run: random, the same for the same seed, by file."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import random_order

FILES = ("a", "b", "c", "long")


def ordered(seed: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    monkeypatch.setenv(random_order.VARIABLE, str(seed))
    items: list[Any] = [
        SimpleNamespace(
            path=Path("faults" if file == "long" else "") / file,
            number=number,
        )
        for file in FILES
        for number in range(9)
    ]
    random_order.pytest_collection_modifyitems(items)
    return [(item.path.name, item.number) for item in items]


def test_a_seed_repeats_the_order_and_another_seed_gives_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ordered(7, monkeypatch) == ordered(7, monkeypatch) != ordered(8, monkeypatch)


def test_files_stay_whole_and_their_tests_are_shuffled(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = [ordered(seed, monkeypatch) for seed in range(20)]
    files = [[file for file, _ in groupby(order, key=lambda test: test[0])] for order in orders]
    assert all(sorted(found) == sorted(FILES) for found in files)
    assert {found[0] for found in files} == {"long"}
    assert len({tuple(found) for found in files}) > 5
    for order in orders:
        numbers = {file: [number for name, number in order if name == file] for file in FILES}
        assert numbers["a"] != list(range(9))
