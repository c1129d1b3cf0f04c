"""Where a pipeline of one's own declares a stream or a model: file and line, for messages."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from millrace.declaration.find import is_file, is_path, split_path

_DECLARATIONS = {"Stream": "name", "Model": "function"}
"""The calls that declare members, with the keyword of their first argument."""


def find_line(pipeline: str, member: str) -> str:
    """Return ``file, line n`` of the declaration of a stream or model in the file that a pipeline is named by.

    Return '' for a pipeline that ships, and for a member whose name is no text in a call in that file.
    """
    if not is_path(pipeline):
        return ""
    target, attribute = split_path(pipeline)
    file = Path(target) if is_file(target) else Path(getattr(sys.modules.get(target), "__file__", None) or "")
    if not file.is_file():
        return ""
    tree = ast.parse(file.read_text())
    # A file may hold several pipelines with a stream of that name.
    own = (statement for statement in tree.body if _assigns(statement, attribute))
    lines = [line for node in (*own, tree) for line in _find_lines(node, member)]
    return f"{file}, line {lines[0]}" if lines else ""


def _find_lines(node: ast.AST, member: str) -> list[int]:
    calls = (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))
    return [call.lineno for call in calls if _declares(call, member)]


def _assigns(statement: ast.stmt, name: str) -> bool:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _declares(call: ast.Call, member: str) -> bool:
    if not isinstance(call.func, ast.Name) or call.func.id not in _DECLARATIONS:
        return False
    keyword = _DECLARATIONS[call.func.id]
    first = [*call.args[:1], *(given.value for given in call.keywords if given.arg == keyword)][:1]
    names = [value.value if isinstance(value, ast.Constant) else getattr(value, "id", None) for value in first]
    return names == [member]
