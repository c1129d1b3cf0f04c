"""docs/guarantees.md is true in what can be checked: the tests it names as holding a promise exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w/.]+)`", PAGE))))
def test_the_files_it_names_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", NAMED)
def test_the_tests_it_names_exist(name: str) -> None:
    assert re.search(rf"def {name}\(", SOURCES)


def test_every_promise_names_what_holds_it() -> None:
    promises = re.findall(r"^## \d+\. .*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert len(promises) == 17
    assert all("*Held by*" in promise for promise in promises)
