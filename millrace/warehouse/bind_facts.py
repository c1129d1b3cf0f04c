"""Bind facts: write into each fact the key of the dimension's version that was valid at the time of the fact.

A fact is bound when it is inserted. When a version changes, the facts that it concerns are bound again as the tables of
a run are applied, in the same transaction, so that a fact may come before its dimension (decision 10).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from millrace.base.naming import quote
from millrace.warehouse import statements
from millrace.warehouse.bind_statements import Binding, bindings_of
from millrace.warehouse.modes.versions import SINCE
from millrace.warehouse.schema.catalog import Catalog
from millrace.warehouse.session import analyze_temporary, fetch_count
from millrace.warehouse.target import Target


@dataclass(frozen=True)
class Changed:
    """What a run changed that the binding of facts depends on."""

    touched: Mapping[str, Target]
    """The targets whose versions may have changed, by name."""
    repaired: frozenset[str]
    """Names of the facts that are checked in all rows, because the run compared all values."""


def with_joins(fact: Target, models: Mapping[str, Target]) -> Target:
    """Return a target with the joins that bind its rows when they are inserted."""
    joins = tuple(binding.make_join(number) for number, binding in enumerate(bindings_of(fact, models)))
    return replace(fact, joins=joins)


def bind_facts(
    connection: Any, catalog: Catalog, models: Mapping[str, Target], changed: Changed, applied_at: datetime
) -> dict[str, tuple[str, ...]]:
    """Bind the facts that the run concerns. Return what a person should know, by model."""
    facts = [fact for fact in models.values() if fact.relations.binds and catalog.find_columns(fact)]
    with connection.cursor() as cursor:
        firsts = _find_firsts(cursor, changed.touched) if facts else {}
        dimensions = {**models, **{name: changed.touched[name] for name in firsts}}
        return {
            fact.owner.name: tuple(
                text
                for binding in bindings_of(fact, dimensions)
                if (text := _bind(cursor, binding, _find(binding, firsts, changed.repaired), applied_at))
            )
            for fact in facts
        }


def _find(binding: Binding, firsts: Mapping[str, datetime], repaired: frozenset[str]) -> str:
    """Return the statement that finds the facts to be bound; '' if there are none."""
    if binding.fact.owner.name in repaired:
        return binding.find_all()
    first = firsts.get(binding.bind.dimension)
    return binding.find_touched(first) if first else ""


def _bind(cursor: Any, binding: Binding, find: str, applied_at: datetime) -> str:
    """Bind the facts that were found. Return what a person should know."""
    if find:
        cursor.execute(statements.drop_temporary(binding.fact.temporary.rows_to_bind))
        cursor.execute(find)
        analyze_temporary(cursor, binding.fact.dialect, binding.fact.temporary.rows_to_bind)
        cursor.execute(binding.write("%s::TIMESTAMPTZ"), (applied_at,))
    unbound = fetch_count(cursor, binding.count_unbound())
    if not unbound:
        return ""
    return f"{unbound} rows have no version in {binding.dimension.name} yet for their {', '.join(binding.bind.keys)}"


def _find_firsts(cursor: Any, touched: Mapping[str, Target]) -> dict[str, datetime]:
    """Return the earliest time from which versions changed, for each dimension with changed versions."""
    firsts: dict[str, datetime] = {}
    for name, target in touched.items():
        if target.load.validity:
            cursor.execute(f"SELECT min({quote(SINCE)}) FROM {quote(target.temporary.touched_keys)}")
            (first,) = cursor.fetchone()
            analyze_temporary(cursor, target.dialect, target.temporary.touched_keys)
            firsts |= {name: first} if first else {}
    return firsts
