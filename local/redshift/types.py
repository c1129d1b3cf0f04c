"""Redshift's column types: how they are spelled, which PostgreSQL type stands for each, and their limits."""

from __future__ import annotations

from decimal import Decimal

from local.redshift.errors import NOT_SUPPORTED, SYNTAX_ERROR, UNDEFINED_TYPE, RedshiftError, unsupported_here
from local.redshift.lexer import quote_name
from local.redshift.stream import TokenStream

VARCHAR_LIMIT, CHAR_LIMIT, VARBYTE_LIMIT, PRECISION_LIMIT = 65_535, 4_096, 16_777_216, 38
DEFAULT_VARCHAR, DEFAULT_VARBYTE = 256, 64_000

PLAIN = {
    "SMALLINT": "smallint", "INT2": "smallint", "INTEGER": "integer", "INT": "integer", "INT4": "integer",
    "BIGINT": "bigint", "INT8": "bigint", "REAL": "real", "FLOAT4": "real", "DOUBLE PRECISION": "double precision",
    "FLOAT8": "double precision", "FLOAT": "double precision", "BOOLEAN": "boolean", "BOOL": "boolean",
    "DATE": "date", "TIMESTAMP WITHOUT TIME ZONE": "timestamp", "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "TIMESTAMPTZ": "timestamptz", "TIMESTAMP": "timestamp", "DATETIME": "timestamp",
    "TIME WITHOUT TIME ZONE": "time", "TIME WITH TIME ZONE": "timetz", "TIMETZ": "timetz", "TIME": "time",
    "SUPER": "pg_catalog.super",
}  # fmt: skip
VARCHARS = ("CHARACTER VARYING", "VARCHAR", "NVARCHAR", "TEXT")
CHARS = ("CHARACTER", "CHAR", "NCHAR", "BPCHAR")
VARBYTES = ("BINARY VARYING", "VARBYTE", "VARBINARY")
NUMERICS = ("NUMERIC", "DECIMAL")
# The longest name first, so that TIMESTAMP does not hide TIMESTAMP WITH TIME ZONE.
NAMES = sorted((*PLAIN, *VARCHARS, *CHARS, *VARBYTES, *NUMERICS), key=lambda name: -len(name.split()))
ABSENT = {
    "JSON", "JSONB", "UUID", "BYTEA", "INTERVAL", "MONEY", "SERIAL", "BIGSERIAL", "SMALLSERIAL", "XML", "INET",
    "CIDR", "MACADDR", "BIT", "TSVECTOR", "TSQUERY", "HSTORE", "CITEXT", "POINT", "OID", "INT4RANGE", "TSTZRANGE",
}  # fmt: skip
UNDONE = {"GEOMETRY", "GEOGRAPHY", "HLLSKETCH"}


def overflow_check(column: str, written: str) -> str:
    """Return the check of a decimal with 19 digits, which is kept in eight bytes; '' for another type.

    AWS, "Numeric types": 19 nines overflow in DECIMAL(19,0).
    """
    if not written.startswith("numeric(19,"):
        return ""
    scale = int(written.removeprefix("numeric(19,").rstrip(")"))
    limit = Decimal(2**63 - 1).scaleb(-scale)
    name, quoted = quote_name(f"overflow${column}"), quote_name(column)
    return f"CONSTRAINT {name} CHECK ({quoted} BETWEEN -{limit} AND {limit})"


def varbyte_domain(length_bytes: int) -> str:
    """Return the domain over bytea that holds at most so many bytes."""
    return f"pg_catalog.varbyte_{length_bytes}"


def parse_type(stream: TokenStream) -> str:
    """Take a column's type, and return the PostgreSQL type that stands for it.

    Refuses types that Redshift does not have.
    """
    name = stream.accept_any(*NAMES)
    if not name:
        raise _unknown(stream)
    parameters = _parameters(stream)
    if stream.key in ("[", "ARRAY"):
        raise absent_type("arrays")
    if name in NUMERICS:
        return _numeric(parameters)
    if name in VARCHARS:
        return f"varchar({_length(name, parameters, DEFAULT_VARCHAR, VARCHAR_LIMIT)})"
    if name in CHARS:
        return f"char({_length(name, parameters, DEFAULT_VARCHAR if name == 'BPCHAR' else 1, CHAR_LIMIT)})"
    if name in VARBYTES:
        return varbyte_domain(_length(name, parameters, DEFAULT_VARBYTE, VARBYTE_LIMIT))
    return _plain(name, parameters)


def _unknown(stream: TokenStream) -> RedshiftError:
    if stream.key in ABSENT:
        return absent_type(stream.key)
    if stream.key in UNDONE:
        return unsupported_here(stream.key)
    name = stream.next().text
    return RedshiftError(UNDEFINED_TYPE, f'type "{name}" does not exist', rule="the type is not one of Redshift's")


def absent_type(name: str) -> RedshiftError:
    """Return the refusal of a PostgreSQL type that Redshift does not have."""
    message = f'Column type "{name.lower()}" is not supported'
    return RedshiftError(NOT_SUPPORTED, message, rule="unsupported PostgreSQL data types")


def _parameters(stream: TokenStream) -> list[str]:
    if stream.key != "(":
        return []
    return [token.text.upper() for token in stream.inside_parentheses() if token.key != ","]


def _plain(name: str, parameters: list[str]) -> str:
    if name == "FLOAT" and len(parameters) == 1:
        return f"float({int(parameters[0])})"
    if parameters:
        raise RedshiftError(SYNTAX_ERROR, f"{name} takes no precision", rule="data types: only FLOAT, NUMERIC, CHAR …")
    return PLAIN[name]


def _numeric(parameters: list[str]) -> str:
    precision, scale = [*map(int, parameters), *(18, 0)[len(parameters) :]]
    if not (1 <= precision <= PRECISION_LIMIT and 0 <= scale <= min(precision, PRECISION_LIMIT - 1)):
        raise RedshiftError(
            "22023", f"NUMERIC precision {precision} must be between 1 and 38, scale up to it", rule="NUMERIC(38,37)"
        )
    return f"numeric({precision},{scale})"


def _length(name: str, parameters: list[str], default: int, limit: int) -> int:
    if not parameters or name in ("TEXT", "BPCHAR"):
        return default
    length = limit if parameters == ["MAX"] and name != "CHAR" else int(parameters[0])
    if not 1 <= length <= limit:
        raise RedshiftError(
            "22023",
            f"Column length exceeds maximum allowed (maximum column length is {limit})",
            rule=f"{name} holds 1 to {limit} bytes",
        )
    return length
