"""docs/guarantees.md and docs/testing.md are true in what can be checked: the tests that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")


def named() -> list[tuple[str, str]]:
    """Tests, each with the file that is named last before it."""
    found, file = set(), ""
    for path, test in re.findall(r"`(?:(tests/[\w/.]+)|(test_\w+))`", PAGE):
        file = path or file
        if test:
            found.add((file, test))
    return sorted(found)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w/.]+)`", PAGE))))
def test_the_files_it_names_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("file", "name"), named())
def test_the_tests_it_names_are_in_the_file_named_before_them(file: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_promise_names_what_holds_it() -> None:
    promises = re.findall(r"^## \d+\. .*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert len(promises) == 17
    assert all("*Held by*" in promise for promise in promises)


def test_the_tests_that_the_page_on_tests_names_exist() -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    written = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    names = re.findall(r"`(test_\w+)`", page)
    assert names
    assert [name for name in names if f"def {name}(" not in written] == []
