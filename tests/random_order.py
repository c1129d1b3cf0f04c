"""Runs test files, and the tests of each file, in a random order, so that no test can rely on one before it.

Each run names its seed; ``TEST_SEED=7`` repeats the order of a run.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from pathlib import Path

import pytest

from tests.work_units import uses_prefect_server

VARIABLE = "TEST_SEED"
LONG = {"faults", "flows", "infra", "torture", "versions"}
"""Directories whose files take a minute and more."""


def pytest_configure() -> None:
    """Choose a seed unless one is given. The processes of pytest-xdist find it in their environment."""
    os.environ.setdefault(VARIABLE, str(random.SystemRandom().randrange(10_000)))


# First, so that pytest then brings tests together that share an expensive fixture's parameter.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle the files, and the tests of each file."""
    chance = random.Random(os.environ[VARIABLE])  # noqa: S311 (it must be repeatable, not secret)
    files: dict[Path, list[pytest.Item]] = defaultdict(list)
    for item in items:
        files[item.path].append(item)
    for tests in files.values():
        chance.shuffle(tests)
    shuffled = list(files.values())
    chance.shuffle(shuffled)
    # Those that take long first: one that comes last leaves the other workers idle until it is done. Those that use the
    # Prefect server run in one process, and take longer than all others.
    shuffled.sort(
        key=lambda tests: (not any(map(uses_prefect_server, tests)), not LONG.intersection(tests[0].path.parts))
    )
    items[:] = [item for tests in shuffled for item in tests]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Name the seed, also in the short output, which has no header."""
    if reporter := session.config.pluginmanager.get_plugin("terminalreporter"):
        _name_seed(reporter)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """And again where failures are told."""
    _name_seed(terminalreporter)


def _name_seed(reporter: pytest.TerminalReporter) -> None:
    reporter.write_line(f"random order: {VARIABLE}={os.environ[VARIABLE]}")
