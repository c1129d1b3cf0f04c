"""Counts the lines that ship in one case of each test, and in none of its other cases.

Where Python has no sys.monitoring (before 3.12), counting costs half as much CPU again as the tests' own process. The
other cases of a test run the same lines with other values.
"""

from __future__ import annotations

import pytest

NOT_COUNTED = pytest.mark.no_cover


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark for pytest-cov which cases are not counted: all but the first of each test, by their names."""
    seen: set[str] = set()
    for item in sorted(items, key=lambda item: item.nodeid):
        test = item.nodeid.partition("[")[0]
        if test in seen:
            item.add_marker(NOT_COUNTED)
        seen.add(test)
