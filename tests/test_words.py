"""What docs/words.md asks of names and docstrings, over the whole product: one word for one thing."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

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
SHARED_CLASS_NAMES = {"Events", "Queue", "Warehouse"}


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{module}:{node.lineno}")
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in shared.items() if name not in SHARED_CLASS_NAMES} == {}
