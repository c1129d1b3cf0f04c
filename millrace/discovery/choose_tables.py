"""Which tables a command means: ``postgres/shop:public.*``, with more patterns that include and exclude."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from millrace.base.errors import ConfigurationError
from millrace.declaration.source_kinds import SourceReference
from millrace.sources.found import FoundTable

SHOWN_NAMES = 20
"""How many names an error shows."""


def parse_reference(text: str) -> SourceReference:
    """Return the source that a command names. Raises ConfigurationError when it is not understood, or is a queue."""
    reference = SourceReference.parse(text, "SOURCE")
    if reference.kind.is_queue:
        raise ConfigurationError(
            "a queue has no tables", place=text, remedy="declare its stream by hand: docs/guides/choose-a-capture.md"
        )
    return reference


def choose_tables(
    reference: SourceReference, tables: Sequence[FoundTable], include: Sequence[str], exclude: Sequence[str]
) -> list[FoundTable]:
    """Return the tables that the reference names, narrowed by patterns as in a shell.

    A table must match a pattern of ``include``, if there are any, and none of ``exclude``. Raises ConfigurationError if
    no table is left, or if a pattern names none.
    """
    named = [table for table in tables if fnmatchcase(table.name, reference.name)]
    for option, patterns in (("--include", include), ("--exclude", exclude)):
        for pattern in patterns:
            if not any(fnmatchcase(table.name, pattern) for table in named):
                raise ConfigurationError(
                    f"{option} {pattern} names no table", place=str(reference), remedy=_choices(tables)
                )
    chosen = [
        table
        for table in named
        if not include or any(fnmatchcase(table.name, pattern) for pattern in include)
        if not any(fnmatchcase(table.name, pattern) for pattern in exclude)
    ]
    if not chosen:
        raise ConfigurationError("it names no table that this user sees", place=str(reference), remedy=_choices(tables))
    return chosen


def _choices(tables: Sequence[FoundTable]) -> str:
    names = [table.name for table in tables]
    if not names:
        return "correct the schema, or grant the user USAGE on it and SELECT on its tables"
    return f"choose from {', '.join(names[:SHOWN_NAMES])}{', …' if len(names) > SHOWN_NAMES else ''}"
