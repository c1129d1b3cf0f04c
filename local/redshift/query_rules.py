"""What Redshift refuses because of where a query's parts run, or how its subqueries are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from local.redshift.errors import NOT_SUPPORTED, SYNTAX_ERROR, UNDEFINED_FUNCTION, RedshiftError
from local.redshift.lexer import Token, TokenKind, find_closing, render
from local.redshift.relations import Relation, relations

LEADER_FUNCTIONS = {
    "NOW", "AGE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP", "ISFINITE", "CURRENT_SCHEMA",
    "CURRENT_SCHEMAS", "HAS_DATABASE_PRIVILEGE", "HAS_SCHEMA_PRIVILEGE", "HAS_TABLE_PRIVILEGE", "GET_BIT", "GET_BYTE",
    "SET_BIT", "SET_BYTE", "TO_ASCII", "FORMAT_TYPE", "GENERATE_SERIES",
}  # fmt: skip
WITHOUT_PARENTHESES = {"CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP"}
COMPUTE_FUNCTIONS = {"LISTAGG", "MEDIAN", "PERCENTILE_CONT", "PERCENTILE_DISC"}
REGULAR_EXPRESSIONS = {"REGEXP_SUBSTR", "REGEXP_REPLACE", "REGEXP_COUNT", "REGEXP_INSTR"}
NOT_ON_TABLES = "Specified types or functions (one per INFO message) not supported on Redshift tables."


def check(statement: Sequence[Token]) -> None:
    """Raise the refusal of the first rule that the statement breaks."""
    read = relations(statement)
    _check_nodes(statement, read)
    _check_orders(statement)
    _check_rows_in_queries(statement)
    _check_regular_expressions(statement)
    _check_windows_of_subqueries(statement)


def check_late_binding(statement: Sequence[Token]) -> None:
    """Refuse a view WITH NO SCHEMA BINDING over a table without its schema (AWS: CREATE VIEW)."""
    for relation in relations(statement):
        if not relation.schema:
            raise RedshiftError(
                SYNTAX_ERROR,
                f'"{relation.name}" must be qualified with a schema name in a late-binding view',
                rule="CREATE VIEW: WITH NO SCHEMA BINDING needs a schema before every table",
            )


def _check_nodes(statement: Sequence[Token], read: Sequence[Relation]) -> None:
    of_users = any(relation.is_of_users for relation in read)
    called = {token.key for token in _find_called(statement)}
    written = any(token.key in ("INSERT", "UPDATE", "DELETE") for token in statement[:1])
    if (of_users or (written and "GENERATE_SERIES" in called)) and (leader := called & LEADER_FUNCTIONS):
        raise RedshiftError(
            NOT_SUPPORTED, NOT_ON_TABLES, rule=f"leader node-only functions: {', '.join(sorted(leader))}"
        )
    if any(relation.is_catalog for relation in read) and (of_users or written):
        raise RedshiftError(
            NOT_SUPPORTED,
            NOT_ON_TABLES,
            rule="SQL functions supported on the leader node: catalog tables are not joined with user tables",
        )
    if (compute := called & COMPUTE_FUNCTIONS) and not (of_users or _system_tables(read)):
        raise RedshiftError(
            NOT_SUPPORTED,
            "One or more of the used functions must be applied on at least one user created tables. Examples of user "
            "table only functions are LISTAGG, MEDIAN, PERCENTILE_CONT, etc",
            rule=f"compute node-only functions: {', '.join(sorted(compute))}",
        )


def _system_tables(read: Sequence[Relation]) -> bool:
    return any(not relation.is_catalog and not relation.is_of_users for relation in read)


def _find_called(statement: Sequence[Token]) -> Iterator[Token]:
    for position, token in enumerate(statement):
        is_called = [one.key for one in statement[position + 1 : position + 2]] == ["("]
        is_part = position > 0 and statement[position - 1].key in (".", "AS") and not _is_catalog(statement, position)
        if token.kind is TokenKind.WORD and (is_called or token.key in WITHOUT_PARENTHESES) and not is_part:
            yield token


def _is_catalog(statement: Sequence[Token], position: int) -> bool:
    return statement[position - 1].key == "." and position > 1 and statement[position - 2].key == "PG_CATALOG"


def _check_orders(statement: Sequence[Token]) -> None:
    """AWS, LISTAGG and PERCENTILE_CONT: the WITHIN GROUP clauses of one query have the same order."""
    orders: dict[int, str] = {}
    opened = [-1]
    for position, token in enumerate(statement):
        if token.key == "(":
            if [one.key for one in statement[max(position - 2, 0) : position]] == ["WITHIN", "GROUP"]:
                order = render(statement[position : find_closing(statement, position)])
                if orders.setdefault(opened[-1], order) != order:
                    raise RedshiftError(
                        NOT_SUPPORTED,
                        "within group ORDER BY clauses for aggregate functions must be the same",
                        rule="PERCENTILE_CONT and LISTAGG: one ORDER BY for all sort-based aggregates of a query",
                    )
            opened.append(position)
        elif token.key == ")" and len(opened) > 1:
            opened.pop()


def _check_rows_in_queries(statement: Sequence[Token]) -> None:
    """AWS, IN condition: a subquery has one column."""
    for position, token in enumerate(statement):
        if token.key != "IN" or [one.key for one in statement[position + 1 : position + 3]] != ["(", "SELECT"]:
            continue
        before = position - 2 if statement[position - 1].key == "NOT" else position - 1
        if before >= 0 and statement[before].key == ")" and _is_row(statement, before):
            raise RedshiftError(
                NOT_SUPPORTED,
                "a row constructor before IN (SELECT …) is not supported",
                rule="IN condition: the subquery has one column; unsupported features: row constructors",
            )


def _is_row(statement: Sequence[Token], closing: int) -> bool:
    depth = 0
    for position in range(closing, -1, -1):
        key = statement[position].key
        depth += (key == ")") - (key == "(")
        if depth == 1 and key == ",":
            return _starts_a_row(statement, position)
        if depth == 0:
            return False
    return False


def _starts_a_row(statement: Sequence[Token], inside: int) -> bool:
    """Whether the parenthesis around is no function's."""
    depth = 0
    for position in range(inside, -1, -1):
        key = statement[position].key
        depth += (key == ")") - (key == "(")
        if depth < 0:
            before = statement[position - 1] if position else None
            return (
                before is None or not before.is_name or before.key in ("WHERE", "AND", "OR", "NOT", "ON", "WHEN", "ROW")
            )
    return False


def _check_regular_expressions(statement: Sequence[Token]) -> None:
    """AWS, POSIX operators: no look-around and no groups with options."""
    for position, token in enumerate(statement):
        if token.key in ("~*", "!~*"):
            raise RedshiftError(UNDEFINED_FUNCTION, f"operator does not exist: {token.key}", rule="POSIX operators")
        is_pattern = token.key in ("~", "!~") or token.key in REGULAR_EXPRESSIONS
        strings = (
            statement[position + 1 : position + 2] if token.key in ("~", "!~") else _arguments(statement, position)
        )
        if is_pattern and any("(?" in one.text for one in strings if one.kind is TokenKind.STRING):
            raise RedshiftError(
                NOT_SUPPORTED, "Invalid preceding regular expression", rule="POSIX operators: no (?…) groups"
            )


def _arguments(statement: Sequence[Token], position: int) -> Sequence[Token]:
    if [one.key for one in statement[position + 1 : position + 2]] != ["("]:
        return ()
    return statement[position + 1 : find_closing(statement, position + 1)]


def _check_windows_of_subqueries(statement: Sequence[Token]) -> None:
    """AWS, Correlated subqueries: none with a window function can be decorrelated."""
    for position, token in enumerate(statement):
        if token.key != "(" or [one.key for one in statement[position + 1 : position + 2]] != ["SELECT"]:
            continue
        end = find_closing(statement, position)
        inside = statement[position + 1 : end]
        if "OVER" not in {one.key for one in inside}:
            continue
        outer = _names(relations([*statement[:position], *statement[end + 1 :]])) - _names(relations(inside))
        if outer & _qualifiers(inside):
            raise RedshiftError(
                NOT_SUPPORTED,
                "This type of correlated subquery pattern is not supported due to internal error",
                rule="correlated subqueries: patterns that are not supported (window functions)",
            )


def _names(read: Sequence[Relation]) -> set[str]:
    return {relation.alias or relation.name for relation in read}


def _qualifiers(statement: Sequence[Token]) -> set[str]:
    """Return the names before a single dot: ``t`` of ``t.a``, and neither of ``s.t.a``."""
    found = set()
    for position in range(len(statement) - 2):
        before, dot = statement[position], statement[position + 1]
        previous = statement[position - 1].key if position else ""
        following = [one.key for one in statement[position + 3 : position + 4]]
        if before.is_name and dot.key == "." and previous != "." and following != ["."]:
            found.add(before.name)
    return found
