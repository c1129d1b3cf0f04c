"""Documents that passed every check of Millrace and that the warehouse still cannot parse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from millrace.base.errors import Conflict, FatalError
from millrace.base.naming import ROW_HASH, quote
from millrace.base.types import Kind
from millrace.drivers.psycopg_errors import translate
from millrace.lake.batch import Batch
from millrace.warehouse.target import Target

_SHOWN_ROWS = 5


@contextmanager
def name_unparsed_documents(connection: Any, target: Target, batch: Batch) -> Iterator[None]:
    """Raise FatalError that names the rows when a load fails on documents that the warehouse cannot parse.

    Rows are named by their row hashes, because a key is a value of a customer. The stage is still there after the
    rollback: it was committed before.
    """
    try:
        yield
    except psycopg2.InternalError as error:
        if isinstance(translate(error, target.place), Conflict):
            raise
        connection.rollback()
        if not (found := _find_unparsed(connection, target, batch)):
            raise
        raise FatalError(
            f"the warehouse cannot parse documents: {'; '.join(found)}",
            place=f"{target.place}, batch {batch.batch_id}",
            remedy=f"find the rows in the files of the batch by {ROW_HASH}; correct the documents at the source, or "
            "reject them by a contract",
        ) from None


def _find_unparsed(connection: Any, target: Target, batch: Batch) -> list[str]:
    if not target.dialect.can_parse:
        return []
    found = []
    with connection.cursor() as cursor:
        for column in (one.name for one in batch.columns if one.type.kind is Kind.DOCUMENT):
            is_parsed = target.dialect.can_parse.format(quote(column))
            cursor.execute(
                f"SELECT {quote(ROW_HASH)} FROM {quote(target.temporary.stage)} "
                f"WHERE {quote(column)} IS NOT NULL AND NOT {is_parsed} LIMIT {_SHOWN_ROWS}"
            )
            if hashes := ", ".join(row_hash for (row_hash,) in cursor.fetchall()):
                found.append(f"column {column}, rows with {ROW_HASH} {hashes}")
    return found
