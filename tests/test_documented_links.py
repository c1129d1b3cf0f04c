"""Links of README.md and docs/: every one leads to a file and a heading that exist; the site shows every page."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def prose(page: Path) -> str:
    """The text of a page without its blocks of code and its inline code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and the site make of the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """Links of a page that lead nowhere. Addresses of other hosts are not followed."""
    found = []
    for path, anchor in LINK.findall(prose(page)):
        target = (page.parent / path).resolve() if path else page
        if path.startswith("https:"):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(f"{path}#{anchor}")
    return found


def pages_of(nav: list[Any]) -> list[str]:
    """Every page that a navigation names, at any depth."""
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [page for entry in entries for page in pages_of(entry)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken(page) == []


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_of_the_site_links_to_a_file_outside_of_it(page: Path) -> None:
    paths = [path for path, _ in LINK.findall(prose(page)) if path and not path.startswith("https:")]
    assert [path for path in paths if not (page.parent / path).resolve().is_relative_to(DOCS)] == []


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_list_and_table_has_a_blank_line_before_it(page: Path) -> None:
    """GitHub shows them without one, the site would show one paragraph."""
    lines = page.read_text(encoding="utf-8").splitlines()
    marked = re.compile(r"(- |\d+\. |\|)")
    glued = [
        later
        for earlier, later in pairwise(lines)
        if marked.match(later) and earlier and earlier[0] not in "-|# " and not marked.match(earlier)
    ]
    assert glued == []


def test_the_navigation_names_every_page_once() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    assert sorted(pages_of(nav)) == sorted(str(page.relative_to(DOCS)) for page in PAGES[1:])
