"""The grammar of COPY … FORMAT PARQUET and UNLOAD … FORMAT PARQUET, and what AWS refuses in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from local.aws import ACCOUNT_ID
from local.redshift.errors import INTERNAL_ERROR, NOT_SUPPORTED, SYNTAX_ERROR, RedshiftError, unsupported_here
from local.redshift.lexer import Token
from local.redshift.stream import TokenStream

ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+(,arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+)*")
PARQUET_ONLY = "COPY from Parquet: only IAM_ROLE, CREDENTIALS, MANIFEST, STATUPDATE, FILLRECORD, ACCEPTINVCHARS, …"
REFUSED_WITH_PARQUET = (
    "COMPUPDATE", "REGION", "MAXERROR", "TRUNCATECOLUMNS", "TIMEFORMAT", "DATEFORMAT", "NOLOAD", "GZIP", "LZOP",
    "BZIP2", "ZSTD", "DELIMITER", "EMPTYASNULL", "BLANKSASNULL", "NULL", "IGNOREHEADER", "ENCRYPTED", "ROUNDEC",
    "TRIMBLANKS", "ESCAPE", "REMOVEQUOTES", "ACCEPTANYDATE", "ENCODING", "COMPROWS", "IGNOREALLERRORS",
    "IGNOREBLANKLINES", "FIXEDWIDTH", "QUOTE", "READRATIO", "SSH", "MASTER_SYMMETRIC_KEY", "KMS_KEY_ID",
)  # fmt: skip


@dataclass
class CopyStatement:
    """A COPY statement, parsed."""

    table: str
    columns: list[str]
    location: str
    options: set[str] = field(default_factory=set)


@dataclass
class UnloadStatement:
    """An UNLOAD statement, parsed. ``maximum_bytes`` is the limit of a file's size; 0: no limit."""

    query: str
    location: str
    options: set[str] = field(default_factory=set)
    maximum_bytes: int = 0


def parse_copy(statement: Sequence[Token]) -> CopyStatement:
    """Parse a COPY statement. Raises what AWS refuses."""
    stream = TokenStream(statement)
    stream.expect("COPY")
    if stream.key == "(":
        raise _no_client_copy()
    table = stream.qualified_name()
    columns = stream.names() if stream.key == "(" else []
    if stream.key == "TO" or not stream.accept("FROM") or stream.key == "STDIN":
        raise _no_client_copy()
    parsed = CopyStatement(table, columns, _location(stream))
    formats, authorized = "", False
    while stream:
        if _authorization(stream):
            authorized = True
        elif found := _format(stream):
            formats = found
        else:
            _option(stream, parsed.options)
    _check(formats, authorized, "COPY")
    return parsed


def _no_client_copy() -> RedshiftError:
    return RedshiftError(
        NOT_SUPPORTED, "COPY FROM STDIN and COPY TO are not supported", rule="COPY reads S3 (…), UNLOAD writes to S3"
    )


def _location(stream: TokenStream) -> str:
    location = stream.string()
    if not re.fullmatch(r"s3://[^/]+/.+", location, re.DOTALL):
        raise unsupported_here("a location other than s3://bucket/key")
    return location


def _authorization(stream: TokenStream) -> bool:
    if stream.accept("IAM_ROLE"):
        if not stream.accept("DEFAULT"):
            _assume(stream.string())
        return True
    if stream.accept("CREDENTIALS"):
        stream.accept("AS")
        stream.string()
        return True
    if stream.accept_any("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        stream.string()
        return True
    return False


def _assume(roles: str) -> None:
    """Refuse a role that the cluster cannot be associated with; one of its own account is taken for associated."""
    if not ROLE.fullmatch(roles):
        raise RedshiftError(SYNTAX_ERROR, "Invalid IAM_ROLE", rule="IAM_ROLE { default | 'arn:aws:iam::…:role/…' }")
    first = roles.partition(",")[0]
    if f"::{ACCOUNT_ID}:" not in first:
        raise RedshiftError(
            INTERNAL_ERROR,
            f"User arn:aws:redshift:us-east-1:{ACCOUNT_ID}:dbuser:cluster/loader is not authorized to assume IAM Role "
            f"{first}",
            rule="COPY: authorization parameters (the role is attached to the cluster, or is reached by chaining)",
        )


def _format(stream: TokenStream) -> str:
    if stream.accept("FORMAT"):
        stream.accept("AS")
        return stream.name().upper()
    return stream.accept_any("PARQUET", "CSV", "JSON", "AVRO", "ORC")


def _option(stream: TokenStream, options: set[str]) -> None:
    if refused := stream.accept_any(*REFUSED_WITH_PARQUET):
        raise RedshiftError(
            NOT_SUPPORTED, f"{refused} argument is not supported for PARQUET based COPY", rule=PARQUET_ONLY
        )
    found = stream.accept_any(
        "MANIFEST", "STATUPDATE", "FILLRECORD", "ACCEPTINVCHARS", "EXPLICIT_IDS", "SERIALIZETOJSON"
    )
    if not found:
        raise stream.make_syntax_error()
    if found == "STATUPDATE":
        stream.accept_any("ON", "OFF", "TRUE", "FALSE")
    if found == "ACCEPTINVCHARS":
        raise unsupported_here("ACCEPTINVCHARS")
    options.add(found)


def _check(formats: str, authorized: bool, verb: str) -> None:
    if formats != "PARQUET":
        raise unsupported_here(f"{verb} in any format but PARQUET")
    if not authorized:
        raise RedshiftError(SYNTAX_ERROR, f"{verb} needs IAM_ROLE", rule=f"{verb}: authorization is required")


def parse_unload(statement: Sequence[Token]) -> UnloadStatement:
    """Parse an UNLOAD statement. Raises what AWS refuses."""
    stream = TokenStream(statement)
    stream.expect("UNLOAD (")
    query = stream.string()
    stream.expect(")")
    stream.expect("TO")
    parsed = UnloadStatement(query, _location(stream))
    formats, authorized = "", False
    while stream:
        if _authorization(stream):
            authorized = True
        elif found := _format(stream):
            formats = found
        elif stream.accept("MAXFILESIZE"):
            parsed.maximum_bytes = _size(stream)
        else:
            _unload_option(stream, parsed.options)
    _check(formats, authorized, "UNLOAD")
    return parsed


def _unload_option(stream: TokenStream, options: set[str]) -> None:
    if stream.accept("PARALLEL"):
        if stream.accept_any("OFF", "FALSE"):
            options.add("PARALLEL OFF")
        elif not stream.accept_any("ON", "TRUE"):
            raise stream.make_syntax_error()
        return
    found = stream.accept_any("MANIFEST", "ALLOWOVERWRITE")
    if not found:
        raise stream.make_syntax_error(" (UNLOAD to PARQUET: MANIFEST, ALLOWOVERWRITE, PARALLEL, MAXFILESIZE)")
    options.add(found)


def _size(stream: TokenStream) -> int:
    stream.accept("AS")
    amount, unit = float(stream.next().text), stream.accept_any("MB", "GB") or "MB"
    size = int(amount * (1 << (20 if unit == "MB" else 30)))
    if not 5 << 20 <= size <= int(6.2 * (1 << 30)):
        raise RedshiftError("22023", "MAXFILESIZE must be between 5 MB and 6.2 GB", rule="UNLOAD: MAXFILESIZE")
    return size
