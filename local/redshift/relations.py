"""Which tables a statement reads, from its tokens alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from local.redshift.lexer import Token, find_closing

READS = {"FROM", "JOIN", "USING", "UPDATE"}
NOT_OF_QUERIES = {"EXTRACT", "SUBSTRING", "TRIM", "OVERLAY", "POSITION"}
"""Functions with a FROM between their parentheses."""
CATALOG_PREFIXES = ("pg_", "svv_columns", "svv_tables")
CATALOG_SCHEMAS = ("pg_catalog", "information_schema")


@dataclass(frozen=True)
class Relation:
    """A table or view as a query names it."""

    schema: str
    name: str
    alias: str = ""

    @property
    def is_catalog(self) -> bool:
        """Whether it is on the leader node only."""
        if self.schema in CATALOG_SCHEMAS:
            return not self.name.startswith(("stv_", "stl_", "sys_", "svl_"))
        return not self.schema and self.name.startswith(CATALOG_PREFIXES)

    @property
    def is_of_users(self) -> bool:
        """Whether it is a table or view that somebody made."""
        is_system = self.name.startswith(("stv_", "stl_", "sys_", "svl_", "svv_"))
        return not self.is_catalog and not (is_system and self.schema in ("", *CATALOG_SCHEMAS))


def relations(statement: Sequence[Token]) -> list[Relation]:
    """Return every table that the statement reads at any depth; queries of WITH are left out."""
    named = _named_queries(statement)
    return [found for found in _find_all(statement) if found.schema or found.name not in named]


def _named_queries(statement: Sequence[Token]) -> set[str]:
    """Return the names that WITH gives to queries: ``name AS (SELECT`` and ``name (columns) AS (SELECT``."""
    names = set()
    for position, token in enumerate(statement):
        if token.key != "AS" or [one.key for one in statement[position + 1 : position + 2]] != ["("]:
            continue
        before = position - 1
        if before > 0 and statement[before].key == ")":
            before = _opening(statement, before) - 1
        if before > 0 and statement[before].is_name and statement[before - 1].key in ("WITH", ",", "RECURSIVE"):
            names.add(statement[before].name)
    return names


def _opening(statement: Sequence[Token], closing: int) -> int:
    depth = 0
    for position in range(closing, -1, -1):
        depth += (statement[position].key == ")") - (statement[position].key == "(")
        if depth == 0:
            return position
    return 0


def _find_all(statement: Sequence[Token]) -> Iterator[Relation]:
    opened: list[str] = [""]
    for position, token in enumerate(statement):
        if token.key == "(":
            opened.append(statement[position - 1].key if position else "")
        elif token.key == ")" and len(opened) > 1:
            opened.pop()
        elif token.key in READS and opened[-1] not in NOT_OF_QUERIES:
            yield from _read_list(statement, position + 1)


def _read_list(statement: Sequence[Token], position: int) -> Iterator[Relation]:
    """Return the relations from here on, as far as commas go on."""
    while position < len(statement):
        relation, position = _relation(statement, position)
        if relation:
            yield relation
        if position >= len(statement) or statement[position].key != ",":
            return
        position += 1


def _relation(statement: Sequence[Token], position: int) -> tuple[Relation | None, int]:
    if statement[position].key == "(":
        _, position = _alias(statement, find_closing(statement, position) + 1)
        return None, position
    if not statement[position].is_name:
        return None, len(statement)
    parts = [statement[position].name]
    position += 1
    while [one.key for one in statement[position : position + 1]] == ["."] and position + 1 < len(statement):
        parts.append(statement[position + 1].name)
        position += 2
    if [one.key for one in statement[position : position + 1]] == ["("]:
        return None, find_closing(statement, position) + 1  # a function, or columns of USING
    alias, position = _alias(statement, position)
    return Relation(parts[-2] if len(parts) > 1 else "", parts[-1], alias), position


def _alias(statement: Sequence[Token], position: int) -> tuple[str, int]:
    if [one.key for one in statement[position : position + 1]] == ["AS"]:
        position += 1
    following = statement[position : position + 2]
    if following and following[0].is_name and [one.key for one in following[1:]] in ([], [","], [")"]):
        return following[0].name, position + 1
    if following and following[0].is_name and following[0].key not in _CLAUSES:
        return following[0].name, position + 1
    return "", position


_CLAUSES = {
    "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "UNION", "EXCEPT", "INTERSECT", "MINUS", "JOIN", "LEFT", "RIGHT",
    "FULL", "INNER", "CROSS", "NATURAL", "ON", "USING", "SET", "WINDOW", "QUALIFY", "WHEN", "OFFSET", "FETCH", "WITH",
}  # fmt: skip
