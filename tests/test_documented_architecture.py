"""docs/architecture.md is true in what can be checked: the modules and the words that it names exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDERS = ("millrace", "flows", "tasks", "blocks")
MOST_WORDS = 35


def classes() -> set[str]:
    """Names that the product defines at the top of a module."""
    found = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    found.add(node.name)
    return found


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([a-z_/]+(?:\.py|/))`", PAGE))))
def test_modules_exist(name: str) -> None:
    assert (ROOT / name).exists() or (ROOT / "millrace" / name).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([A-Z][A-Za-z]+)`", PAGE))))
def test_words_are_classes(name: str) -> None:
    assert name in classes()


def test_a_run_needs_no_more_words() -> None:
    counts = [int(count) for count in re.findall(r"^\| [a-z, ]+ \((\d+)\) \|", PAGE, re.MULTILINE)]
    assert sum(counts) == int(re.findall(r"^That is (\d+)\.", PAGE, re.MULTILINE)[0]) <= MOST_WORDS
