"""README.md and docs/: every command that a page names exists, with its options.

The table of variables in docs/settings.md is that of the code.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from millrace.blocks.environment import VARIABLES
from millrace.cli.main import application

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def code(page: Path) -> str:
    """Blocks of code and inline code of a page, each on lines of their own."""
    return "\n".join("".join(parts) for parts in CODE.findall(page.read_text(encoding="utf-8")))


def of_each_page(pattern: str) -> list[tuple[str, ...]]:
    """What a pattern finds in the code of the pages, each once, with the page that names it first."""
    found: dict[tuple[str, ...], str] = {}
    for page in PAGES:
        for groups in re.findall(pattern, code(page), re.MULTILINE):
            found.setdefault(groups if isinstance(groups, tuple) else (groups,), page.name)
    return sorted((page, *groups) for groups, page in found.items())


def test_the_table_of_variables_is_the_code_s() -> None:
    table = [f"| `{one.name}` | {one.meaning} | {one.required} |" for one in VARIABLES]
    settings = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").partition("\n## Several")[0]
    lines = [line for line in settings.splitlines() if re.match(r"\| `[A-Z_]+` \|", line)]
    assert lines[: len(table)] == table


@pytest.mark.parametrize(("page", "target"), of_each_page(r"^make ([a-z-]+)"))
def test_every_make_target_exists(page: str, target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), page


@pytest.mark.parametrize(("page", "module"), of_each_page(r"python -m ((?:millrace|local|infra|bench)[\w.]*)"))
def test_every_module_that_is_run_exists(page: str, module: str) -> None:
    assert importlib.util.find_spec(module), page


@pytest.mark.parametrize(
    ("page", "command", "arguments"),
    of_each_page(r"^(?:\$ )?millrace(?: --debug)? ([a-z]+)((?: [\w./:-]+)*)"),
)
def test_every_command_of_this_program_exists_with_its_options(page: str, command: str, arguments: str) -> None:
    group = typer.main.get_command(application)
    assert isinstance(group, TyperGroup)
    assert command in group.commands, page
    known = {option for parameter in group.commands[command].params for option in parameter.opts}
    assert set(re.findall(r"--[\w-]+", arguments)) <= known | {"--help"}, page
