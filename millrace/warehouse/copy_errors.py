"""What a COPY or UNLOAD of Redshift that failed means: every one of them has the SQLSTATE XX000."""

from __future__ import annotations

import re
from typing import Any, Literal

import psycopg2

from millrace.base.errors import ConfigurationError, Conflict, FatalError, MillraceError, RetryableError
from millrace.base.redact import redact
from millrace.drivers.meanings import Meaning, Said, find_meaning
from millrace.drivers.psycopg_errors import translate
from millrace.drivers.server_words import without_quoted

_RIGHTS = "let the warehouse's role use the lake (WAREHOUSE_IAM_ROLE, docs/security.md): "
_RIGHTS_BY_COMMAND = {
    "COPY": "s3:GetObject on its objects, s3:ListBucket and s3:GetBucketLocation on its bucket, kms:Decrypt where the "
    "bucket is encrypted with a key",
    "UNLOAD": "s3:PutObject on the objects named, kms:GenerateDataKey where the bucket is encrypted with a key",
}
_MEANINGS = (
    Meaning(
        ConfigurationError,
        "associate the role with the warehouse: `aws redshift modify-cluster-iam-roles --cluster-identifier CLUSTER "
        "--add-iam-roles ROLE`, or `aws redshift-serverless update-namespace --namespace-name NAMESPACE --iam-roles "
        "ROLE`; and let the role's trust policy name redshift.amazonaws.com",
        signs=(r"(?i)not authorized to (assume|get credentials)",),
    ),
    Meaning(ConfigurationError, _RIGHTS, signs=("Access ?Denied",)),
    Meaning(
        FatalError,
        "see whether something deletes or replaces objects of the lake (lifecycle rules, other programs)",
        signs=(r"HTTP response error code: (404|416)\b", "NoSuchKey"),
    ),
    Meaning(
        RetryableError,
        "run again; the warehouse could not read S3 or had no resources at this moment",
        signs=(
            r"code:\s+15005\b",
            "retries exceeded",
            r"S3 ?Query Exception \((Fetch|Execute)\)",
            "SlowDown",
            r"Status:? ?(5\d\d)\b",
            "Resource temporarily unavailable",
        ),
    ),
    Meaning(FatalError, "look at the file and column named; the warehouse is unchanged", signs=("",)),
)
"""The first one that fits an error is what it means; a conflict comes before all of them."""
_QUERY_ID = re.compile(r"query:\s+(\d+)")
_LOAD_ERRORS = (
    "SELECT file_name, line_number, column_name, error_code, error_message FROM sys_load_error_detail "
    "WHERE query_id = %s ORDER BY line_number LIMIT 5"
)


def copy_error(connection: Any, error: psycopg2.Error, command: Literal["COPY", "UNLOAD"], place: str) -> MillraceError:
    """Return the error of Millrace for a command that failed; rolls back.

    It tells what the warehouse recorded about this very command, if that can be read.
    """
    connection.rollback()
    translated = translate(error, place)
    if isinstance(translated, Conflict):
        return translated
    words = f"{error.diag.message_primary} {error.diag.message_detail or ''}"
    meaning = find_meaning(_MEANINGS, Said(error, words=words)) or _MEANINGS[-1]
    problem = "; ".join(_find_recorded(connection, words)) or without_quoted(words)
    rights = _RIGHTS_BY_COMMAND[command] if meaning.remedy == _RIGHTS else ""
    return meaning.kind(f"{command} failed: {redact(problem)}", place=place, remedy=f"{meaning.remedy}{rights}")


def _find_recorded(connection: Any, words: str) -> list[str]:
    """Return what the warehouse recorded, by the query id in the words of the error; [] if there is nothing to read.

    pg_last_copy_id() is of no use: the rollback of a COPY does not update it, so that it is that of an earlier one.
    """
    if not (found := _QUERY_ID.search(words)):
        return []
    try:
        with connection.cursor() as cursor:
            cursor.execute(_LOAD_ERRORS, (int(found[1]),))
            return [
                " ".join((*(str(one).strip() for one in where), without_quoted(str(said).strip())))
                for *where, said in cursor.fetchall()
            ]
    except psycopg2.Error:
        connection.rollback()
        return []
