"""docs/runbook.md is true in what can be checked: every error has a section, every message its words in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import millrace.base.errors

ROOT = Path(__file__).parents[1]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
INDEX = RUNBOOK.partition("## Find your message")[2].partition("\n## ")[0]
ERRORS = RUNBOOK.partition("\n## Errors\n")[2].partition("\n## ")[0]
FOLDERS = ("millrace", "tasks", "flows", "blocks", "cli")
SHORTEST_CHARACTERS = 20
"""Of the fixed words of a message; shorter ones fit anything."""
UNSOUGHT = ("row-level security policy", ": is not there", "add column")
"""Messages that Postgres words, or that have too few fixed words."""
GROUPS = {"MillraceError"}
"""Errors that are raised only as one of their kinds."""


def modules() -> list[str]:
    return [path.read_text(encoding="utf-8") for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]


def messages() -> Iterator[re.Pattern[str]]:
    """Every text of the code that has enough fixed words, with anything in the place of its values."""
    for module in modules():
        for node in ast.walk(ast.parse(module)):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            fixed = [part.value if isinstance(part, ast.Constant) else None for part in parts]
            if sum(len(part) for part in fixed if isinstance(part, str)) >= SHORTEST_CHARACTERS:
                yield re.compile("".join(re.escape(part) if isinstance(part, str) else ".+" for part in fixed))


def code() -> str:
    """The text of all modules; literals that go over several lines are one."""
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(modules()))


def test_every_error_is_in_the_table_of_messages() -> None:
    errors = {name for name, value in vars(millrace.base.errors).items() if isinstance(value, type)}
    documented = {
        name for cell in re.findall(r"^\| ([^|]+) \|", INDEX, re.MULTILINE) for name in re.findall(r"\w+", cell)
    }
    assert errors - GROUPS - documented == set()


def test_the_words_of_every_message_are_in_the_code() -> None:
    rows = re.findall(r"^\| [^|]*\| (`[^|]+) \|", INDEX, re.MULTILINE)
    words = [one for row in rows for one in re.findall(r"`([^`]+)`", row)]
    text = code()
    assert len(words) > 20
    assert [one for one in words if one not in text] == []


def test_every_message_of_the_sections_is_one_of_the_code() -> None:
    blocks = re.findall(r"^```\n(.*?)^```", ERRORS, re.MULTILINE | re.DOTALL)
    shown = [line.partition(" Remedy: ")[0] for block in blocks for line in block.splitlines() if "Remedy: " in line]
    sought = [problem.removesuffix(".") for problem in shown if not any(words in problem for words in UNSOUGHT)]
    known = list(messages())
    assert len(sought) > 15
    assert [problem for problem in sought if not any(message.search(problem) for message in known)] == []
