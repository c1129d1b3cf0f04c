"""INSERT, UPDATE, DELETE, MERGE, LOCK and cursors: where Redshift's grammar is narrower than PostgreSQL's."""

from __future__ import annotations

from collections.abc import Sequence

from local.redshift.errors import INTERNAL_ERROR, NOT_SUPPORTED, SYNTAX_ERROR, RedshiftError, unsupported_here
from local.redshift.lexer import Token, render
from local.redshift.stream import TokenStream

FETCH_ROWS = 1_000
CURSOR_RULE = "DECLARE name CURSOR FOR query, inside a transaction; FETCH goes forward only"


def _make_refusal(message: str, rule: str) -> RedshiftError:
    return RedshiftError(SYNTAX_ERROR, message, rule=rule)


def main_verb(statement: Sequence[Token]) -> str:
    """Return the verb of the statement; for WITH, the verb after its queries."""
    stream = TokenStream(statement)
    if not stream.accept("WITH"):
        return stream.key
    stream.until("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE")
    if stream.key in ("INSERT", "MERGE"):
        raise _make_refusal(
            f'syntax error at or near "{stream.key.lower()}"', "WITH stands before the query of an INSERT"
        )
    return stream.key


def delete(statement: Sequence[Token]) -> str:
    """Translate a DELETE for PostgreSQL: FROM is optional, the target has no alias."""
    stream = TokenStream(statement)
    before = render(stream.until("DELETE"))
    stream.expect("DELETE")
    stream.accept("FROM")
    table = stream.qualified_name()
    if stream and stream.key not in ("USING", "WHERE"):
        raise _make_refusal(
            f'syntax error at or near "{stream.next().text}"', "DELETE: the target table takes no alias"
        )
    return f"{before} DELETE FROM {table} {stream.rest()}"


def update(statement: Sequence[Token]) -> str:
    """Translate an UPDATE for PostgreSQL: its FROM has no outer joins."""
    stream = TokenStream(statement)
    stream.until("SET")
    stream.until("FROM", "WHERE")
    keys = [token.key for token in stream.until("WHERE")]
    for side in ("LEFT", "RIGHT", "FULL"):
        if side in keys and keys[keys.index(side) + 1] in ("JOIN", "OUTER"):
            raise RedshiftError(
                NOT_SUPPORTED,
                "Target table must be part of an equijoin predicate",
                rule="UPDATE … FROM: no outer joins",
            )
    return render(statement)


def merge(statement: Sequence[Token]) -> str:
    """Translate a MERGE for PostgreSQL, as narrow as Redshift's."""
    stream = TokenStream(statement)
    stream.expect("MERGE INTO")
    stream.qualified_name()
    if not stream.accept("USING"):
        raise _make_refusal(f'syntax error at or near "{stream.next().text}"', "MERGE: the target table takes no alias")
    if stream.key == "(":
        raise _make_refusal('syntax error at or near "("', "MERGE: the source is a table, no view and no subquery")
    stream.qualified_name()
    if not stream.accept("ON"):
        stream.accept("AS")
        stream.name()
        stream.expect("ON")
    if "=" not in [token.key for token in stream.until("WHEN", "REMOVE")]:
        raise _make_refusal("MERGE needs an equality condition", "MERGE: match_condition is made of equal predicates")
    if stream.accept("REMOVE DUPLICATES"):
        raise unsupported_here("MERGE … REMOVE DUPLICATES")
    _merge_clauses(stream)
    return render(statement)


def _merge_clauses(stream: TokenStream) -> None:
    seen = []
    while stream:
        clause = stream.accept_any("WHEN MATCHED THEN", "WHEN NOT MATCHED THEN")
        action = (
            stream.accept_any("UPDATE SET", "DELETE") if clause == "WHEN MATCHED THEN" else stream.accept_any("INSERT")
        )
        if not action:
            raise stream.make_syntax_error(
                " (MERGE: WHEN MATCHED THEN UPDATE|DELETE, WHEN NOT MATCHED THEN INSERT, no AND)"
            )
        seen.append(clause)
        stream.until("WHEN")
    if sorted(seen) != ["WHEN MATCHED THEN", "WHEN NOT MATCHED THEN"]:
        raise _make_refusal(
            "MERGE needs one WHEN MATCHED and one WHEN NOT MATCHED clause", "MERGE: both clauses, once each"
        )


def lock(statement: Sequence[Token]) -> str:
    """Translate a LOCK for PostgreSQL: it is always ACCESS EXCLUSIVE."""
    stream = TokenStream(statement)
    stream.expect("LOCK")
    stream.accept("TABLE")
    tables = [stream.qualified_name()]
    while stream.accept(","):
        tables.append(stream.qualified_name())
    if stream:
        raise _make_refusal(f'syntax error at or near "{stream.next().text}"', "LOCK has one mode: ACCESS EXCLUSIVE")
    return f"LOCK TABLE {', '.join(tables)}"


def declare(statement: Sequence[Token]) -> str:
    """Translate a DECLARE CURSOR for PostgreSQL."""
    stream = TokenStream(statement)
    stream.expect("DECLARE")
    stream.name()
    if not stream.accept_any("CURSOR FOR", "CURSOR WITHOUT HOLD FOR"):
        raise _make_refusal(f'syntax error at or near "{stream.next().text}"', CURSOR_RULE)
    return render(statement)


def fetch(statement: Sequence[Token]) -> str:
    """Return a FETCH for PostgreSQL: NEXT, FORWARD n; at most 1,000 rows, as on a cluster of one node."""
    stream = TokenStream(statement)
    stream.expect("FETCH")
    found = stream.accept_any("NEXT", "ALL", "FORWARD")
    if not found:
        raise _make_refusal(f'syntax error at or near "{stream.next().text}"', CURSOR_RULE)
    if found == "FORWARD" and stream.key == "ALL":
        found = "ALL"
    if found == "ALL" or (found == "FORWARD" and stream.integer() > FETCH_ROWS):
        raise RedshiftError(
            INTERNAL_ERROR,
            f"Fetch size exceeds the limit of {FETCH_ROWS} for a single node configuration. Reduce the client "
            "fetch/cache size or upgrade to a multi node installation.",
            rule="FETCH: at most 1,000 rows, and no ALL, on a cluster of one node",
        )
    return render(statement)
