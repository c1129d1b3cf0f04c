"""Replace Redshift's functions and names that PostgreSQL spells differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from local.redshift.lexer import Token, TokenKind, quote_string, word
from local.redshift.stream import TokenStream, split_by_comma

DATE_FUNCTIONS = {"DATEADD", "DATEDIFF", "DATE_DIFF", "DATE_ADD", "DATE_PART", "DATEPART"}
RENAMED = {
    "NVL": "coalesce",
    "DATE_DIFF": "datediff",
    "DATE_ADD": "dateadd",
    "DATEPART": "date_part",
    "FORMAT_TYPE": "standin_format_type",
    "JSON_SERIALIZE": "pg_catalog.json_serialize",  # a keyword of PostgreSQL's grammar when it stands alone
}
ON_CATALOG = {"COLUMNS": "svv_columns", "TABLES": "svv_tables", "TABLE_CONSTRAINTS": "standin_table_constraints"}


@dataclass
class LastCopy:
    """The answers of pg_last_copy_id() and pg_last_copy_count() in a session."""

    copy_id: int = -1
    row_count: int = 0
    query_id: int = -1


def rewrite(statement: Sequence[Token], last_copy: LastCopy) -> list[Token]:
    """Return the statement with every such function and name replaced."""
    told = {
        "PG_LAST_COPY_ID": last_copy.copy_id,
        "PG_LAST_COPY_COUNT": last_copy.row_count,
        "PG_LAST_QUERY_ID": last_copy.query_id,
    }
    result: list[Token] = []
    for position, token in enumerate(statement):
        following = statement[position + 1].key if position + 1 < len(statement) else ""
        result += _replace(result, token, following, told)
    return _listagg(result)


def _replace(before: list[Token], token: Token, following: str, told: dict[str, int]) -> list[Token]:
    previous = before[-1].key if before else ""
    if following == "(" and token.key in RENAMED:
        return [replace(token, text=RENAMED[token.key])]
    if previous == "(" and len(before) > 1 and before[-2].key in told and token.key == ")":
        return [word(str(told[before[-2].key])), token]
    if token.key == "PG_ATTRIBUTE":
        return [replace(token, text="standin_attribute")]
    if token.key == "SYSDATE" and previous != ".":
        return [word("pg_catalog.sysdate()")]
    if _is_date_part(before, token, following):
        return [Token(TokenKind.STRING, quote_string(token.name), token.spaced)]
    if previous == "." and len(before) > 1 and before[-2].key == "INFORMATION_SCHEMA" and token.key in ON_CATALOG:
        del before[-2:]
        return [word(f"pg_catalog.{ON_CATALOG[token.key]}")]
    return [token]


def _is_date_part(before: list[Token], token: Token, following: str) -> bool:
    if len(before) < 2 or before[-1].key != "(" or following != "," or token.kind is not TokenKind.WORD:
        return False
    return before[-2].key in DATE_FUNCTIONS


def _listagg(statement: list[Token]) -> list[Token]:
    """Rewrite ``LISTAGG(value, separator) WITHIN GROUP (ORDER BY …)`` as STRING_AGG."""
    for position, token in enumerate(statement[:-1]):
        if token.key == "LISTAGG" and statement[position + 1].key == "(":
            stream = TokenStream(statement[position + 1 :])
            value, *separator = split_by_comma(stream.inside_parentheses())
            order = stream.inside_parentheses() if stream.accept("WITHIN GROUP") else []
            distinct = value[:1] if value[0].key == "DISTINCT" else []
            text = [*distinct, word("("), *value[len(distinct) :], word(")::varchar,")]
            inside = [*text, *(separator[0] if separator else [word("''")]), *order]
            return [*statement[:position], word("string_agg("), *inside, word(")"), *_listagg(stream.until())]
    return statement
