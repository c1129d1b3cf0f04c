"""docs/complaints.md names every test of test_complaints.py once, and tests of other files that are there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.millrace.runs import test_complaints

PAGE = Path(__file__).parents[3] / "docs" / "complaints.md"
ROW = re.compile(r"^\|[^|]+\|[^|]+\| `(test_\w+)`(?: in `((?:\w+/)?test_\w+\.py)`)? \|$", re.MULTILINE)


def documented() -> list[tuple[str, str]]:
    """Tests, each with its file, if that is another than test_complaints.py."""
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


def test_every_row_of_the_table_names_its_test() -> None:
    rows = re.findall(r"^\| (?!complaint ).*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(documented()) == len(rows) > 80


def test_the_page_and_the_tests_agree() -> None:
    tests = [name for name in vars(test_complaints) if name.startswith("test_")]
    assert sorted(name for name, file in documented() if not file) == sorted(tests)


def test_tests_of_other_files_are_there() -> None:
    for name, file in filter(lambda row: row[1], documented()):
        (path,) = (PAGE.parents[1] / "tests").rglob(Path(file).name)
        assert f"def {name}(" in path.read_text(encoding="utf-8")
