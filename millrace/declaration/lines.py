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
    target, _ = split_path(pipeline)
    file = Path(target) if is_file(target) else Path(getattr(sys.modules.get(target), "__file__", None) or "")
    if not file.is_file():
        return ""
    calls = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
    lines = [call.lineno for call in calls if _declares(call, member)]
    return f"{file}, line {lines[0]}" if lines else ""


def _declares(call: ast.Call, member: str) -> bool:
    if not isinstance(call.func, ast.Name) or call.func.id not in _DECLARATIONS:
        return False
    keyword = _DECLARATIONS[call.func.id]
    first = [*call.args[:1], *(given.value for given in call.keywords if given.arg == keyword)][:1]
    names = [value.value if isinstance(value, ast.Constant) else getattr(value, "id", None) for value in first]
    return names == [member]
