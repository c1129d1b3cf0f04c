"""What Redshift refuses anywhere in a statement, and the rule of AWS for each refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local.redshift import query_rules
from local.redshift.errors import (
    NOT_SUPPORTED,
    NUMERIC_OVERFLOW,
    SYNTAX_ERROR,
    UNDEFINED_FUNCTION,
    UNDEFINED_TYPE,
    RedshiftError,
    unsupported_here,
)
from local.redshift.lexer import Token, TokenKind
from local.redshift.stream import TokenStream
from local.redshift.types import ABSENT, absent_type

UNSUPPORTED_FEATURES = "unsupported PostgreSQL features"


@dataclass(frozen=True)
class Phrase:
    """Words that are nowhere next to each other in Redshift's SQL."""

    words: tuple[str, ...]
    rule: str

    @classmethod
    def of(cls, words: str, rule: str = UNSUPPORTED_FEATURES) -> Phrase:
        """Make the phrase from words separated by spaces."""
        return cls(tuple(words.split()), rule)


PHRASES = [
    Phrase.of("RETURNING", "INSERT, UPDATE and DELETE have no RETURNING"),
    Phrase.of("ON CONFLICT", "no upsert in INSERT: use MERGE, or DELETE and INSERT"),
    Phrase.of("IS DISTINCT FROM", "unsupported PostgreSQL functions: IS DISTINCT FROM"),
    Phrase.of("IS NOT DISTINCT FROM", "unsupported PostgreSQL functions: IS DISTINCT FROM"),
    Phrase.of("DISTINCT ON", "SELECT has no DISTINCT ON: use ROW_NUMBER() or QUALIFY"),
    Phrase.of("FILTER ( WHERE", "aggregates have no FILTER: use CASE"),
    Phrase.of("LATERAL", "no LATERAL joins"),
    Phrase.of("ARRAY [", "no array constructors"),
    Phrase.of("ANY ( ARRAY", "no arrays: use IN (…)"),
    Phrase.of("FROM ( VALUES", "no VALUES list as a constant table"),
    Phrase.of("JOIN ( VALUES", "no VALUES list as a constant table"),
    Phrase.of("USING ( VALUES", "no VALUES list as a constant table"),
    Phrase.of("AS ( VALUES", "no VALUES list as a constant table"),
    Phrase.of("AS ( INSERT", "no data-modifying WITH queries"),
    Phrase.of("AS ( UPDATE", "no data-modifying WITH queries"),
    Phrase.of("AS ( DELETE", "no data-modifying WITH queries"),
    Phrase.of("AS MATERIALIZED (", "WITH has no MATERIALIZED"),
    Phrase.of("AS NOT MATERIALIZED (", "WITH has no MATERIALIZED"),
    Phrase.of("NULLS NOT DISTINCT", "UNIQUE has no NULLS NOT DISTINCT"),
    Phrase.of("FOR UPDATE", "SELECT takes no row locks: LOCK the table"),
    Phrase.of("FOR SHARE", "SELECT takes no row locks: LOCK the table"),
    Phrase.of("FOR NO KEY", "SELECT takes no row locks: LOCK the table"),
    Phrase.of("SKIP LOCKED", "SELECT takes no row locks: LOCK the table"),
    Phrase.of("WITH ORDINALITY", "no table functions"),
    Phrase.of("TABLESAMPLE", UNSUPPORTED_FEATURES),
    Phrase.of("ON COMMIT", "CREATE TABLE has no ON COMMIT"),
    Phrase.of("OVERRIDING SYSTEM VALUE", "IDENTITY columns take explicit values from COPY … EXPLICIT_IDS only"),
    Phrase.of("OVERRIDING USER VALUE", "INSERT has no OVERRIDING"),
]
FUNCTIONS = {
    **dict.fromkeys(("STRING_AGG", "ARRAY_AGG", "EVERY", "CORR", "XMLAGG"), "unsupported PostgreSQL functions"),
    **dict.fromkeys(("GEN_RANDOM_UUID", "UUID_GENERATE_V4", "UUIDV7"), "no UUID functions: make ids in the loader"),
    **dict.fromkeys(("CLOCK_TIMESTAMP", "STATEMENT_TIMESTAMP", "TRANSACTION_TIMESTAMP"), "use GETDATE() or SYSDATE"),
    **dict.fromkeys(("PG_SLEEP", "SETSEED", "WIDTH_BUCKET", "DIV", "FORMAT"), "unsupported PostgreSQL functions"),
    **dict.fromkeys(("ENCODE", "CONVERT_FROM", "CONVERT_TO", "OVERLAY", "BIT_LENGTH"), "unsupported string functions"),
    **dict.fromkeys(("REGEXP_MATCHES", "REGEXP_SPLIT_TO_TABLE", "REGEXP_SPLIT_TO_ARRAY"), "unsupported functions"),
    **dict.fromkeys(("UNNEST", "GENERATE_SUBSCRIPTS", "ARRAY_LENGTH", "CARDINALITY", "ARRAY_APPEND"), "no arrays"),
    **dict.fromkeys(("STRING_TO_ARRAY", "ARRAY_TO_STRING", "REGEXP_LIKE"), "unsupported PostgreSQL functions"),
    **dict.fromkeys(("NEXTVAL", "CURRVAL", "SETVAL", "LASTVAL"), "no sequences: IDENTITY columns"),
    **dict.fromkeys(("SHA256", "SHA512", "HASHTEXT", "HASHTEXTEXTENDED"), "use SHA2(string, 256) or MD5"),
    **dict.fromkeys(("MAKE_DATE", "MAKE_TIMESTAMP", "MAKE_INTERVAL", "JUSTIFY_DAYS", "AGE"), "use DATEADD, DATEDIFF"),
    **dict.fromkeys(("TO_REGCLASS", "PG_RELATION_SIZE", "PG_TOTAL_RELATION_SIZE"), "no size and visibility functions"),
    **dict.fromkeys(("TXID_CURRENT", "PG_CURRENT_SNAPSHOT", "PG_EXPORT_SNAPSHOT"), "no transaction-id functions"),
    **dict.fromkeys(("NUM_NONNULLS", "NUM_NULLS", "MODE", "JSON_AGG"), "unsupported PostgreSQL functions"),
    **dict.fromkeys(("ROW_TO_JSON", "TO_JSON", "JSON_OBJECT_AGG", "JSON_POPULATE_RECORD"), "SUPER has own functions"),
}
FUNCTION_PREFIXES = {
    "JSONB_": "no JSONB: SUPER and JSON_PARSE",
    "JSON_BUILD_": "SUPER has OBJECT() and ARRAY()",
    "JSON_OBJECT": "SUPER has OBJECT() and ARRAY()",
    "JSON_VALUE": "no SQL/JSON: JSON_EXTRACT_PATH_TEXT",
    "JSON_QUERY": "no SQL/JSON: JSON_EXTRACT_PATH_TEXT",
    "JSON_EXISTS": "no SQL/JSON: JSON_EXTRACT_PATH_TEXT",
    "TO_JSONB": "no JSONB: SUPER and JSON_PARSE",
    "PG_ADVISORY_": "no advisory locks: LOCK a table",
    "PG_TRY_ADVISORY_": "no advisory locks: LOCK a table",
    "REGR_": "unsupported aggregate functions",
    "TS_": "no full text search",
    "TO_TS": "no full text search",
    "XML": "no XML functions",
}
OPERATORS = {
    "->": "SUPER is navigated with dots and brackets, there are no JSON operators",
    "->>": "SUPER is navigated with dots and brackets, there are no JSON operators",
    "#>": "no JSON operators",
    "#>>": "no JSON operators",
    "@>": "no containment operators",
    "<@": "no containment operators",
}


NARROW_DIGITS = 19
"""The most digits of a number that Redshift keeps in eight bytes."""
BIGINT_MAX = 2**63 - 1
TABLE_AFTER = {"INTO", "TABLE", "EXISTS", "REFERENCES", "COPY"}
AGGREGATES = {
    "SUM", "AVG", "COUNT", "MIN", "MAX", "STDDEV", "STDDEV_SAMP", "STDDEV_POP", "VARIANCE", "VAR_SAMP", "VAR_POP",
    "FIRST_VALUE", "LAST_VALUE", "NTH_VALUE",
}  # fmt: skip


def check(statement: Sequence[Token]) -> None:
    """Raise the refusal of the first thing in the statement that Redshift does not have."""
    keys = [token.key for token in statement]
    casts = _inside_casts(keys)
    for position, token in enumerate(statement):
        if token.kind is TokenKind.WORD:
            _check_phrase(keys, position)
            _check_function(keys, position)
            _check_cast(keys, position, inside_cast=casts[position])
            _check_window(statement, keys, position)
        elif token.kind is TokenKind.OPERATOR:
            _check_operator(statement, keys, position)
        elif token.kind is TokenKind.NUMBER:
            _check_number(token.text)
        elif (
            token.kind is TokenKind.STRING
            and position
            and not token.spaced
            and keys[position - 1] in ("E", "B", "X", "N")
        ):
            raise RedshiftError(
                UNDEFINED_TYPE,
                f'type "{keys[position - 1].lower()}" does not exist',
                rule="PostgreSQL 8.0 has no E'…' strings: a plain string escapes with a backslash",
            )
    query_rules.check(statement)


def _inside_casts(keys: list[str]) -> list[bool]:
    """Return for each token whether the parenthesis around it belongs to CAST."""
    opened, inside = [False], []
    for position, key in enumerate(keys):
        inside.append(opened[-1])
        if key == "(":
            opened.append(position > 0 and keys[position - 1] == "CAST")
        elif key == ")" and len(opened) > 1:
            opened.pop()
    return inside


def _check_number(text: str) -> None:
    """Refuse a number of 19 digits that is no BIGINT. A sign is not part of it, so the least BIGINT is refused too."""
    digits = text.replace(".", "").lstrip("0")
    if len(digits) == NARROW_DIGITS and digits.isdecimal() and int(digits) > BIGINT_MAX:
        raise RedshiftError(
            NUMERIC_OVERFLOW, f"Numeric data overflow: {text}", rule="Numeric types: DECIMAL(19) is kept in eight bytes"
        )


def _check_phrase(keys: list[str], position: int) -> None:
    for phrase in PHRASES:
        end = position + len(phrase.words)
        if keys[position] == phrase.words[0] and tuple(keys[position:end]) == phrase.words:
            raise RedshiftError(
                SYNTAX_ERROR, f'syntax error at or near "{" ".join(phrase.words).lower()}"', rule=phrase.rule
            )


def _check_function(keys: list[str], position: int) -> None:
    if keys[position + 1 : position + 2] != ["("] or _is_table(keys, position):
        return
    name = keys[position]
    rule = FUNCTIONS.get(name) or next((r for prefix, r in FUNCTION_PREFIXES.items() if name.startswith(prefix)), "")
    if rule:
        raise RedshiftError(UNDEFINED_FUNCTION, f"function {name.lower()}() does not exist", rule=rule)
    if name in ("DECODE", "CONVERT"):
        raise unsupported_here(f"Redshift's {name} (PostgreSQL's is another)")


def _is_table(keys: list[str], position: int) -> bool:
    """Return whether the name before a parenthesis is a table with its columns, and not a function."""
    while position >= 2 and keys[position - 1] == ".":
        position -= 2
    return position > 0 and keys[position - 1] in TABLE_AFTER


def _check_cast(keys: list[str], position: int, *, inside_cast: bool) -> None:
    before = keys[position - 1] if position else ""
    if before == "::" or (before == "AS" and inside_cast):
        if keys[position] in ABSENT and keys[position] != "INTERVAL":
            raise absent_type(keys[position])
        if keys[position] in ("SUPER", "VARBYTE", "VARBINARY"):
            raise unsupported_here(f"a cast to {keys[position]} (use JSON_PARSE or TO_VARBYTE)")
    if keys[position] == "QUALIFY" and before != ".":
        raise unsupported_here("QUALIFY (use a subquery)")


def _check_window(statement: Sequence[Token], keys: list[str], position: int) -> None:
    if keys[position] == "OVER" and keys[position - 1] == ")" and keys[position + 1 : position + 2] != ["("]:
        raise RedshiftError(
            SYNTAX_ERROR, "named windows are not supported", rule="OVER takes its window in parentheses"
        )
    if keys[position] not in AGGREGATES or keys[position + 1 : position + 2] != ["("]:
        return
    stream = TokenStream(statement[position + 1 :])
    stream.inside_parentheses()
    stream.accept_any("IGNORE NULLS", "RESPECT NULLS")
    if not stream.accept("OVER") or stream.key != "(":
        return
    window = {token.key for token in stream.inside_parentheses()}
    if "RANGE" in window or "GROUPS" in window:
        raise RedshiftError(NOT_SUPPORTED, "RANGE and GROUPS frames are not supported", rule="window frames are ROWS")
    if "ORDER" in window and "ROWS" not in window:
        raise RedshiftError(
            NOT_SUPPORTED,
            "Aggregate window functions with an ORDER BY clause require a frame clause",
            rule="window functions: with ORDER BY an explicit ROWS frame is required",
        )


def _check_operator(statement: Sequence[Token], keys: list[str], position: int) -> None:
    key = keys[position]
    if key in OPERATORS:
        raise RedshiftError(UNDEFINED_FUNCTION, f"operator does not exist: {key}", rule=OPERATORS[key])
    if key == "[" and position and (statement[position - 1].is_name or keys[position - 1] in (")", "]")):
        raise unsupported_here("navigation into SUPER")
