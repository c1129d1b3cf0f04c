"""Which tests share a process: those of a file, and those that use the Prefect server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.work_units import WorkUnits, pytest_collection_modifyitems


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("tests/a/test_x.py::test_y", "tests/a/test_x.py"),
        ("tests/a/test_x.py::TestX::test_y[a@b]", "tests/a/test_x.py"),
        ("tests/a/test_x.py::test_y[a]@prefect", "prefect"),
    ],
)
def test_a_unit_is_a_file_or_a_marked_group(nodeid: str, unit: str) -> None:
    assert object.__new__(WorkUnits)._split_scope(nodeid) == unit


def test_all_that_use_the_prefect_server_are_one_group() -> None:
    marks: list[tuple[str, str]] = []
    fixtures = {"one": ["stack", "prefect_server"], "other": ["stack"]}
    items: list[Any] = [
        SimpleNamespace(fixturenames=used, add_marker=lambda mark, name=name: marks.append((name, *mark.args)))
        for name, used in fixtures.items()
    ]
    pytest_collection_modifyitems(items)
    assert marks == [("one", "prefect")]
