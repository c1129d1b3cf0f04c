"""What docs/words.md asks of names and docstrings, over the whole product: one word for one thing."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCT = ("millrace", "flows", "tasks", "blocks", "cli", "pipelines", "seed_data", "infra", "local", "bench")
MODULES = [
    file
    for folder in PRODUCT
    for file in sorted((ROOT / folder).rglob("*.py"))
    # The links within millrace/ lead to folders that are listed themselves.
    if not any(parent.is_symlink() for parent in file.relative_to(ROOT).parents)
]
TREES = {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text()) for file in MODULES}
SHARED_CLASS_NAMES = {"Queue", "Warehouse"}
"""Those of Prefect blocks: users import them, and Prefect's server knows their schemas by these names."""


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{module}:{node.lineno}")
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in shared.items() if name not in SHARED_CLASS_NAMES} == {}


MODULE = re.compile(r"(?<![\w/*{<.-])((?:[\w-]+/)*[a-z_]\w*\.py)\b")
EXAMPLES = {
    "file.py",
    "my_module.py",
    "own.py",
    "path/to/module.py",
    "pipelines/shop/__init__.py",
    "serve.py",
    "shop/pipelines.py",
}
"""Files of users."""
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    # It tells what was called otherwise before.
    if page.name != "upgrading.md"
]
FILES = [f"/{file.relative_to(ROOT).as_posix()}" for file in (*MODULES, *(ROOT / "tests").rglob("*.py"))]


def docstrings(tree: ast.Module) -> list[str]:
    return [
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]


def unresolved(text: str) -> set[str]:
    named = {name.removeprefix("millrace/") for name in MODULE.findall(text)} - EXAMPLES
    return {name for name in named if not any(file.endswith(f"/{name}") for file in FILES)}


@pytest.mark.parametrize("module", TREES)
def test_every_module_that_a_docstring_names_exists(module: str) -> None:
    assert unresolved("\n".join(docstrings(TREES[module]))) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    assert unresolved(page.read_text()) == set()


@pytest.mark.parametrize("package", [name for name in TREES if name.endswith("/__init__.py")])
def test_a_package_says_once_what_does_not_belong_there(package: str) -> None:
    folder = package.removesuffix("__init__.py")
    docstring = ast.get_docstring(TREES[package]) or ""
    assert docstring.count("What does not belong here: ") == 1
    repeated = [
        name
        for name, tree in TREES.items()
        if name.startswith(folder) and not name.endswith("/__init__.py")
        if "What does not belong" in " ".join((ast.get_docstring(tree) or "").split())
    ]
    assert repeated == []


NOT_ALONE = re.compile(r"(Of|Those|The same|It does|None)\b(?! of)")
"""How a docstring begins that is only understood under its neighbour."""
OLD_WORDS = re.compile(r"\b(mend|mended|anew)\b")


@pytest.mark.parametrize("module", TREES)
def test_a_docstring_is_understood_alone(module: str) -> None:
    assert [text for text in docstrings(TREES[module]) if NOT_ALONE.match(text) or len(text.split()) < 2] == []


@pytest.mark.parametrize("module", TREES)
def test_words_are_current_english(module: str) -> None:
    assert [line for line in (ROOT / module).read_text().splitlines() if OLD_WORDS.search(line)] == []


PARTICIPLE = re.compile(r"_?(?!seed$)([a-z]+ed|held|kept|sent|told|shown|drawn|left|found|seen|taken|given)$")
"""A word that hides whether something is read, written or started."""


@pytest.mark.parametrize("module", TREES)
def test_no_function_is_named_by_a_participle(module: str) -> None:
    functions = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    called = [node for node in functions if not any("property" in ast.unparse(one) for one in node.decorator_list)]
    assert [node.name for node in called if PARTICIPLE.match(node.name)] == []
