"""Which tables a command means: ``postgres/shop:public.*``, with more patterns that include and exclude."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from millrace.base.errors import ConfigurationError
from millrace.declaration.source_kinds import SourceReference
from millrace.declaration.streams import matches
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
    reference: SourceReference, tables: Sequence[FoundTable], include: Collection[str], exclude: Collection[str]
) -> list[FoundTable]:
    """Return the tables that the reference names, narrowed by patterns as in a shell.

    A table must match a pattern of ``include``, if there are any, and none of ``exclude``. Raises ConfigurationError if
    no table is left, or if a pattern names none.
    """
    for option, patterns in (("--include", include), ("--exclude", exclude)):
        for pattern in find_unused(reference, tables, patterns):
            raise ConfigurationError(
                f"{option} {pattern} names no table", place=str(reference), remedy=describe_choices(tables)
            )
    chosen = [table for table in tables if matches(table.name, reference.name, include, exclude)]
    if not chosen:
        raise names_nothing(str(reference), tables)
    return chosen


def find_unused(reference: SourceReference, tables: Sequence[FoundTable], patterns: Iterable[str]) -> list[str]:
    """Return the patterns that match none of the tables that the reference names."""
    names = [table.name for table in tables if matches(table.name, reference.name)]
    return [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]


def names_nothing(place: str, tables: Sequence[FoundTable]) -> ConfigurationError:
    """Return the error of a pattern that names no table."""
    return ConfigurationError("it names no table that this user sees", place=place, remedy=describe_choices(tables))


def describe_choices(tables: Sequence[FoundTable]) -> str:
    """Return a remedy that names the tables."""
    names = [table.name for table in tables]
    if not names:
        return "correct the schema, or grant the user USAGE on it and SELECT on its tables"
    return f"choose from {', '.join(names[:SHOWN_NAMES])}{', …' if len(names) > SHOWN_NAMES else ''}"
