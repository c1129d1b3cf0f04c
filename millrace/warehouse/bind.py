"""Binding: facts hold the key of the dimension's version that was valid at their own time.

Runs when the tables of a run are applied, in the same transaction: rows that arrived are bound, and those that a
changed version concerns are bound again, so that a fact may come before its dimension (decision 10).
What does not belong here: which columns bind to which dimension (pipelines/), versions (modes/scd2.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace.declared import Bind
from millrace.load_modes import Scd2
from millrace.naming import DELETED_AT, LOADED_AT, quote, quote_list
from millrace.types import Kind
from millrace.warehouse import statements
from millrace.warehouse.catalog import Catalog
from millrace.warehouse.modes.scd2 import SINCE, moment
from millrace.warehouse.session import count
from millrace.warehouse.statements import match
from millrace.warehouse.target import Target

_NEVER_A_KEY = -1


@dataclass(frozen=True)
class Changed:
    """Targets of this run by model: those that rows were put into, and those whose versions changed."""

    arrived: Mapping[str, Target]
    touched: Mapping[str, Target]


def bind_facts(
    connection: Any, catalog: Catalog, models: Mapping[str, Target], changed: Changed, applied_at: datetime
) -> dict[str, tuple[str, ...]]:
    """Bind what the run concerns; by model, what a person should know."""
    told: dict[str, tuple[str, ...]] = {}
    for name, target in models.items():
        fact = changed.arrived.get(name, target)
        found = [
            _bind(
                connection,
                fact,
                _Binding(fact, bind, changed.touched.get(bind.dimension, dimension)),
                changed,
                applied_at,
            )
            for bind in fact.binds
            if catalog.held(fact) and catalog.held(dimension := models[bind.dimension])
        ]
        told[name] = tuple(text for text in found if text)
    return told


def _bind(connection: Any, fact: Target, binding: _Binding, changed: Changed, applied_at: datetime) -> str:
    has_arrived, is_touched = fact.member in changed.arrived, binding.dimension.member in changed.touched
    scopes = [binding.touched] if is_touched else []
    scopes += [binding.arrived] if has_arrived else []
    with connection.cursor() as cursor:
        for scope in scopes:
            cursor.execute(statements.drop_temporary(fact.bound))
            cursor.execute(binding.find(scope))
            cursor.execute(binding.write(), (applied_at,))
        unbound = count(cursor, binding.count_unbound()) if has_arrived else 0
    if not unbound:
        return ""
    return f"{unbound} rows have no version in {binding.dimension.name} yet for their {', '.join(binding.bind.keys)}"


class _Binding:
    """The SQL that binds a column of ``fact`` to the versions of ``dimension``."""

    def __init__(self, fact: Target, bind: Bind, dimension: Target) -> None:
        if not isinstance(dimension.load, Scd2):
            raise TypeError("a pipeline refuses such a declaration")
        self.fact, self.bind, self.dimension, self._load = fact, bind, dimension, dimension.load
        kinds: dict[str, Kind] = {column.name: column.type.kind for column in fact.columns}
        self._at = moment(f"f.{quote(bind.at)}", kinds[bind.at], fact.stamps_in)

    @property
    def arrived(self) -> str:
        """Joins the rows that were put in."""
        keys = self.fact.keys
        rows = f"(SELECT DISTINCT {quote_list(keys)} FROM {quote(self.fact.delta)})"
        return f"{rows} AS c ON {match('f', 'c', keys)}"

    @property
    def touched(self) -> str:
        """Joins the rows that a changed version may concern."""
        keys = quote_list(self.dimension.keys)
        rows = f"SELECT {keys}, min({quote(SINCE)}) AS since$ FROM {quote(self.dimension.touched)} GROUP BY {keys}"
        return f"({rows}) AS c ON {self._same('c')} AND {self._at} >= c.since$"

    def find(self, scope: str) -> str:
        """Rows whose version is another than they say; those of ``scope`` alone."""
        fact, column = self.fact, quote(self.bind.column)
        valid = (
            f"{self._same('v')} AND {self._at} >= v.starts$ AND (v.next_start$ IS NULL OR {self._at} < v.next_start$) "
            f"AND (v.gone$ IS NULL OR {self._at} < v.gone$)"
        )
        return (
            f"CREATE TEMPORARY TABLE {quote(fact.bound)} AS SELECT {quote_list(fact.keys, 'f.')}, v.version$ "
            f"FROM {fact.quoted} AS f JOIN {scope} LEFT JOIN ({self._versions()}) AS v ON {valid} "
            f"WHERE coalesce(f.{column}, {_NEVER_A_KEY}) <> coalesce(v.version$, {_NEVER_A_KEY})"
        )

    def write(self) -> str:
        """Into the rows that were found. One parameter: the load time."""
        fact = self.fact
        return (
            f"UPDATE {fact.quoted} SET {quote(self.bind.column)} = b$.version$, {quote(LOADED_AT)} = %s::TIMESTAMPTZ "
            f"FROM {quote(fact.bound)} AS b$ WHERE {match(fact.quoted, 'b$', fact.keys)}"
        )

    def count_unbound(self) -> str:
        """Rows that were put in, name a key, and are not bound."""
        known = " AND ".join(f"f.{quote(key)} IS NOT NULL" for key in self.bind.keys)
        return (
            f"SELECT count(*) FROM {self.fact.quoted} AS f JOIN {self.arrived} "
            f"WHERE f.{quote(self.bind.column)} IS NULL AND {known}"
        )

    def _versions(self) -> str:
        """Each until its successor starts, whatever convention its end follows."""
        keys, start = quote_list(self.dimension.keys), quote(self._load.start)
        return (
            f"SELECT {keys}, {quote(self._load.surrogate)} AS version$, {start} AS starts$, "
            f"lead({start}) OVER (PARTITION BY {keys} ORDER BY {start}) AS next_start$, "
            f"{quote(DELETED_AT)} AT TIME ZONE 'UTC' AS gone$ FROM {self.dimension.quoted}"
        )

    def _same(self, other: str) -> str:
        pairs: Sequence[tuple[str, str]] = list(zip(self.bind.keys, self.dimension.keys, strict=True))
        return " AND ".join(f"f.{quote(own)} = {other}.{quote(key)}" for own, key in pairs)
