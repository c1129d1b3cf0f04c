"""Which statements there are, and which module translates each for PostgreSQL.

A verb that is not named here is refused: strictness is the stand-in's value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from local.redshift import ddl, dml, query_rules
from local.redshift.errors import ACTIVE_TRANSACTION, NOT_SUPPORTED, SYNTAX_ERROR, RedshiftError, unsupported_here
from local.redshift.lexer import Token, render
from local.redshift.stream import TokenStream
from local.redshift.wire import SERVER_VERSION

REWRITTEN: dict[str, Callable[[Sequence[Token]], str]] = {
    "DELETE": dml.delete, "UPDATE": dml.update, "MERGE": dml.merge, "LOCK": dml.lock, "DECLARE": dml.declare,
    "FETCH": dml.fetch,
}  # fmt: skip
PASSED = {
    "SELECT", "(", "INSERT", "TRUNCATE", "COMMIT", "END", "ROLLBACK", "ABORT", "CLOSE", "ANALYZE", "GRANT", "REVOKE",
    "COMMENT", "EXPLAIN", "PREPARE", "EXECUTE", "DEALLOCATE", "RESET",
}  # fmt: skip
REFUSED = {
    "SAVEPOINT": "no SAVEPOINT: transactions are all or nothing",
    "RELEASE": "no SAVEPOINT: transactions are all or nothing",
    "LISTEN": "no LISTEN and NOTIFY",
    "NOTIFY": "no LISTEN and NOTIFY",
    "UNLISTEN": "no LISTEN and NOTIFY",
    "DO": "no anonymous blocks",
    "VALUES": "no VALUES list as a constant table",
    "TABLE": "TABLE name is not a statement",
    "REINDEX": "no indexes",
    "CLUSTER": "no indexes",
    "MOVE": "cursors go forward by FETCH only",
    "DISCARD": "no DISCARD",
    "CHECKPOINT": "no CHECKPOINT",
}
CREATED = {
    "INDEX": "no indexes: sort keys", "UNIQUE": "no indexes: sort keys", "SEQUENCE": "no sequences: IDENTITY columns",
    "TRIGGER": "no triggers", "TYPE": "no enumerated and composite types", "DOMAIN": "no domains",
    "EXTENSION": "no extensions", "RULE": "no rules", "UNLOGGED": "no unlogged tables", "AGGREGATE": "no aggregates",
    "OPERATOR": "no operators", "TABLESPACE": "no tablespaces", "PUBLICATION": "no publications",
}  # fmt: skip
PARAMETERS = {
    "SEARCH_PATH", "STATEMENT_TIMEOUT", "CLIENT_ENCODING", "TIMEZONE", "DATESTYLE", "EXTRA_FLOAT_DIGITS",
    "APPLICATION_NAME", "TIME", "AUTHORIZATION",
}  # fmt: skip
REDSHIFT_PARAMETERS = {
    "QUERY_GROUP", "WLM_QUERY_SLOT_COUNT", "ENABLE_RESULT_CACHE_FOR_SESSION", "JSON_SERIALIZATION_ENABLE",
    "JSON_SERIALIZATION_PARSE_NESTED_STRINGS", "ERROR_ON_NONDETERMINISTIC_UPDATE", "ANALYZE_THRESHOLD_PERCENT",
    "JSON_PARSE_DEDUP_ATTRIBUTES",
    "PARSE_SUPER_NULL_ON_ERROR", "CAST_SUPER_NULL_ON_ERROR", "NAVIGATE_SUPER_NULL_ON_ERROR",
    "MAX_CURSOR_RESULT_SET_SIZE", "DESCRIBE_FIELD_NAME_IN_UPPERCASE", "SPECTRUM_ENABLE_PSEUDO_COLUMNS",
}  # fmt: skip


def for_postgres(verb: str, statement: list[Token], *, in_transaction: bool) -> list[str]:
    """Return the statements to run on PostgreSQL; the client gets the answer of the last.

    Raises what Redshift refuses.
    """
    if verb in REWRITTEN:
        return [REWRITTEN[verb](statement)]
    if verb == "ALTER" and [token.key for token in statement[:2]] == ["ALTER", "TABLE"]:
        return ddl.alter_table(statement, in_transaction=in_transaction)
    if verb == "CREATE":
        return [_create(statement)]
    if verb in ("BEGIN", "START"):
        return [_begin(statement)]
    if verb in ("SET", "SHOW"):
        return [_set(statement) if verb == "SET" else _show(statement)]
    if verb == "VACUUM":
        return [_vacuum(statement, in_transaction=in_transaction)]
    if verb in PASSED:
        return [render(_pass(verb, statement))]
    return [_drop_or_alter(verb, statement)]


def note_design(statement: Sequence[Token]) -> list[str]:
    """Return what the stand-in notes of a table that the statement has made."""
    keys = [token.key for token in statement[:4]]
    if keys[0] != "CREATE" or "TABLE" not in keys:
        return []
    made = ddl.create_table(list(statement))
    return made.design.statements(made.name)


def _pass(verb: str, statement: list[Token]) -> list[Token]:
    keys = [token.key for token in statement]
    if verb in ("ROLLBACK", "ABORT") and "TO" in keys:
        raise _make_refusal("ROLLBACK TO SAVEPOINT", REFUSED["SAVEPOINT"])
    if verb == "EXPLAIN" and "ANALYZE" in keys[:4]:
        raise _make_refusal("EXPLAIN ANALYZE", "EXPLAIN [VERBOSE] does not run the query")
    if verb == "TRUNCATE" and ("," in keys or "CASCADE" in keys or "RESTART" in keys):
        raise _make_refusal("TRUNCATE of several tables or with options", "TRUNCATE [TABLE] table_name")
    if verb == "INSERT" and "AS" in keys[:5] and "(" not in keys[:5] and "SELECT" not in keys[:5]:
        raise _make_refusal("an alias for INSERT's target", "INSERT INTO table_name [(columns)]")
    return statement


def _make_refusal(what: str, rule: str) -> RedshiftError:
    return RedshiftError(NOT_SUPPORTED, f"{what} is not supported", rule=rule)


def _create(statement: list[Token]) -> str:
    stream = TokenStream(statement)
    stream.expect("CREATE")
    stream.accept("OR REPLACE")
    scope = stream.accept_any("LOCAL TEMPORARY", "LOCAL TEMP", "TEMPORARY", "TEMP")
    kind = stream.key
    if kind == "TABLE":
        return ddl.create_table(statement).sql
    if kind == "VIEW" and not scope:
        return _create_view(statement)
    if kind in ("SCHEMA", "USER", "GROUP", "ROLE") and not scope:
        return render(statement)
    if kind in CREATED:
        raise _make_refusal(f"CREATE {kind}", CREATED[kind])
    raise unsupported_here(f"CREATE {scope} {kind}")


def _create_view(statement: list[Token]) -> str:
    if [token.key for token in statement[-4:]] != ["WITH", "NO", "SCHEMA", "BINDING"]:
        return render(statement)
    query_rules.check_late_binding(statement[:-4])
    return render(statement[:-4])


def _begin(statement: list[Token]) -> str:
    # The level is the database's; BEGIN accepts the word and nothing follows from it.
    mode = "READ ONLY" if [token.key for token in statement[-2:]] == ["READ", "ONLY"] else ""
    return f"BEGIN {mode}".strip()


def _set(statement: list[Token]) -> str:
    stream = TokenStream(statement)
    stream.expect("SET")
    stream.accept_any("LOCAL", "SESSION")
    name = stream.key
    if name in ("CHARACTERISTICS", "TRANSACTION"):
        # The isolation level is the database's, whatever a session asks for.
        return "SET standin.isolation_level TO ignored"
    if name in REDSHIFT_PARAMETERS:
        return f"SET standin.{name.lower()} {_after_name(stream)}"
    if name not in PARAMETERS:
        raise RedshiftError(
            "42704",
            f'unrecognized configuration parameter "{name.lower()}"',
            rule="SET takes Redshift's parameters only",
        )
    return render(statement)


def _after_name(stream: TokenStream) -> str:
    stream.next()
    return stream.rest()


def _show(statement: list[Token]) -> str:
    if len(statement) == 2 and statement[1].key == "SERVER_VERSION":
        return f"SELECT '{SERVER_VERSION}'::varchar AS server_version"
    return render(statement)


def _vacuum(statement: list[Token], *, in_transaction: bool) -> str:
    if in_transaction:
        raise RedshiftError(
            ACTIVE_TRANSACTION,
            "VACUUM cannot run inside a transaction block",
            rule="VACUUM runs outside of BEGIN … END",
        )
    stream = TokenStream(statement)
    stream.expect("VACUUM")
    stream.accept_any("FULL", "SORT ONLY", "DELETE ONLY", "REINDEX", "RECLUSTER")
    table = stream.qualified_name() if stream and stream.key not in ("TO", "BOOST") else ""
    return f"VACUUM {table}".strip()


def _drop_or_alter(verb: str, statement: list[Token]) -> str:
    kind = statement[1].key if len(statement) > 1 else ""
    if verb == "DROP" and kind in ("TABLE", "VIEW", "SCHEMA", "USER", "GROUP", "ROLE"):
        return render(statement)
    if verb == "ALTER" and kind in ("SCHEMA", "USER", "GROUP", "ROLE", "DEFAULT"):
        return render(statement)
    if verb in REFUSED:
        raise _make_refusal(verb, REFUSED[verb])
    if verb in ("DROP", "ALTER") and kind in CREATED:
        raise _make_refusal(f"{verb} {kind}", CREATED[kind])
    if verb in ("DROP", "ALTER", "CALL", "REFRESH", "USE", "CANCEL"):
        raise unsupported_here(f"{verb} {kind}")
    raise RedshiftError(SYNTAX_ERROR, f'syntax error at or near "{statement[0].text}"', rule="not a Redshift statement")
