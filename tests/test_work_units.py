"""Which tests share a process: those of a file, and those that use the Prefect server."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.work_units import DISTRIBUTION, PREFECT_UNIT, WorkUnits

pytest_plugins = ("pytester",)


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("tests/a/test_x.py::test_y", "tests/a/test_x.py"),
        ("tests/a/test_x.py::TestX::test_y[a@b]", "tests/a/test_x.py"),
        ("tests/a/test_x.py::test_y[a]@prefect", "prefect"),
    ],
)
def test_a_unit_is_a_file_or_a_named_unit(nodeid: str, unit: str) -> None:
    assert object.__new__(WorkUnits)._split_scope(nodeid) == unit


def test_all_that_use_the_prefect_server_are_one_unit(pytester: pytest.Pytester) -> None:
    """By the names that the tests have in the processes of pytest-xdist."""
    pytester.makeconftest("import pytest\n\n@pytest.fixture\ndef prefect_server(): return 1")
    pytester.makepyfile("def test_one(prefect_server): pass\n\ndef test_other(): pass")
    pytester.runpytest_subprocess("-n1", "--dist", DISTRIBUTION, "--junitxml=found.xml", "-p", "tests.work_units")
    found = ElementTree.parse(pytester.path / "found.xml")  # noqa: S314 (pytest wrote it)
    assert {case.get("name") for case in found.iter("testcase")} == {f"test_one@{PREFECT_UNIT}", "test_other"}
