"""Write docs/reference.md, the reference of what a pipeline is declared with, from the code and its docstrings.

``python .ci/reference.py``. A test holds the page equal to what this writes.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import millrace
from millrace.declaration import captures
from millrace.flows.request import ReplicateRequest

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"
HEAD = """# Reference: declarations and options

Everything that `from millrace import …` gives, field by field, and the options of a run. This page is written from the
docstrings of the code: `python .ci/reference.py`. A wrong value raises an error that names field and remedy when the
file is imported.
"""
SECTIONS = {
    "Pipeline": ["Pipeline"],
    "Stream": ["Stream"],
    "Streams": ["Streams"],
    "Captures": ["Incremental", "Snapshot", "Queue", "ChangeLog"],
    "Load modes": ["Merge", "Append", "Replace", "Scd2", "History"],
    "Models": ["Model", "Bind"],
    "Further values": ["Child", "Dated", "Reconcile", "Hash", "Partial", "Redact"],
}
FUNCTIONS = ["text", "decimal"]
CHOICES = {name: get_args(getattr(captures, name)) for name in ("DeletePolicy", "SchemaPolicy", "LandingFormat")}
"""The choices of fields whose annotation is a name."""
WORDS = {
    "DeclaredStreams": "Sequence[Stream | Streams]",
    "AnyCapture": " | ".join(kind.__name__ for kind in get_args(captures.AnyCapture)),
    "Text": "str",
    "Count": "int",
    "PositiveCount": "int",
    "Share": "float",
    "Duration": "timedelta",
    "PositiveDuration": "timedelta",
    "NaiveDatetime": "datetime",
    "Names": "Sequence[str] | set[str]",
    "dataframely.Schema": "dy.Schema",
    "polars.DataFrame": "pl.DataFrame",
}
"""Annotations that are names of our own, as Python says them."""


def write_reference() -> str:
    """Return the page."""
    lines = [HEAD]
    for title, names in SECTIONS.items():
        lines += [f"## {title}", ""]
        for name in names:
            if names != [title]:
                lines += [f"### {name}", ""]
            lines += describe_class(getattr(millrace, name))
    lines += ["## Types", "", "For `types=`:", ""]
    lines += [f"- `{name}{signature(name)}`: {summary(name)}" for name in FUNCTIONS]
    lines += ["- `DOCUMENT`: a document, SUPER on Redshift and jsonb on Postgres.", ""]
    lines += [
        "## Options of a run",
        "",
        "The form of the flow `replicate`, and arguments of `replicate(pipeline, …)`.",
        "",
    ]
    lines += describe_request()
    return "\n".join(lines)


def signature(name: str) -> str:
    """Return the parameters of a function, without the quotes around annotations."""
    return str(inspect.signature(getattr(millrace, name))).partition(" ->")[0].replace("'", "")


def summary(name: str) -> str:
    """Return the first sentence of a function's docstring, as what the function is for."""
    return one_line(inspect.getdoc(getattr(millrace, name)) or "").removeprefix("Return ").partition(". ")[0]


def describe_class(kind: type[Any]) -> Iterator[str]:
    """Yield the docstring of a declaration, and a row for each of its fields."""
    yield inspect.cleandoc(kind.__doc__ or "").replace("``", "`")
    yield ""
    fields = list(find_fields(kind))
    if fields:
        yield from ("| field | type | default | meaning |", "|---|---|---|---|")
        yield from (f"| {' | '.join(map(escape, field))} |" for field in fields)
        yield ""


def find_fields(kind: type[Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, default and docstring of each field, in the order in which they are given."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    for item, after in zip(body.body, [*body.body[1:], None], strict=True):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name) or item.target.id[0] == "_":
            continue
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        meaning = one_line(str(after.value.value)) if is_text else ""
        yield f"`{item.target.id}`", describe_type(item.annotation), describe_default(item.value), meaning


def describe_type(annotation: ast.expr) -> str:
    """Return an annotation as it is written, with words of Python for our own, and a choice as its values."""
    written = ast.unparse(annotation)
    literal = annotation.slice if isinstance(annotation, ast.Subscript) and written.startswith("Literal[") else None
    if choices := CHOICES.get(written) or (ast.literal_eval(literal) if literal else ()):
        return ", ".join(f"`{choice!r}`" for choice in choices)
    return f"`{re.sub(r'[a-zA-Z_.]+', lambda name: WORDS.get(name[0], name[0]), written)}`"


def describe_default(value: ast.expr | None) -> str:
    """Return a default as it is written; a required field has none."""
    if value is None or ast.unparse(value) == "DeclaredStreams()":
        return "required"
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        (factory,) = (given.value for given in value.keywords if given.arg == "default_factory")
        return "`{}`" if ast.unparse(factory) == "dict" else f"`{ast.unparse(factory)}()`"
    return f"`{ast.unparse(value)}`"


def describe_request() -> Iterator[str]:
    """Yield a row for each field of a run's request."""
    yield from ("| field | default | meaning |", "|---|---|---|")
    for name, field in ReplicateRequest.model_fields.items():
        yield f"| `{name}` | `{field.get_default(call_default_factory=True)!r}` | {escape(field.description or '')} |"
    yield ""


def one_line(text: str) -> str:
    """Return a text as one line of Markdown."""
    return " ".join(text.replace("``", "`").split())


def escape(cell: str) -> str:
    """Escape what would end a cell of a table, and what would be a tag outside of code."""
    parts = cell.replace("|", "\\|").split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


if __name__ == "__main__":
    PAGE.write_text(write_reference(), encoding="utf-8")
