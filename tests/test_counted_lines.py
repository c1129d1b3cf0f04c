"""Which cases of a test count lines: one, always the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.counted_lines import pytest_collection_modifyitems


@pytest.mark.parametrize("order", [1, -1])
def test_one_case_of_each_test_is_counted(order: int) -> None:
    marked: list[str] = []
    names = ["test_a.py::test_x", "test_a.py::test_y[1]", "test_a.py::test_y[2]", "test_b.py::test_y[2]"][::order]
    items: list[Any] = [
        SimpleNamespace(nodeid=name, add_marker=lambda mark, name=name: marked.append(name)) for name in names
    ]
    pytest_collection_modifyitems(items)
    assert marked == ["test_a.py::test_y[2]"]


def test_the_plugin_is_in_use(request: pytest.FixtureRequest) -> None:
    assert request.config.pluginmanager.has_plugin("tests.counted_lines")
