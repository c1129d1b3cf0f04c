"""docs/complaints.md names every test of test_complaints.py, and no other, once each."""

from __future__ import annotations

import re
from pathlib import Path

import test_complaints

PAGE = Path(__file__).parents[2] / "docs" / "complaints.md"
ROW = re.compile(r"^\|[^|]+\|[^|]+\| `(test_\w+)` \|$", re.MULTILINE)


def documented() -> list[str]:
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


def test_every_row_of_the_table_names_its_test() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert len(documented()) == len(rows) - len(("the heading", "the line below it"))


def test_the_page_and_the_tests_agree() -> None:
    tests = [name for name in vars(test_complaints) if name.startswith("test_")]
    assert sorted(documented()) == sorted(tests)
