"""A target of a history as it is now, in the form of a state of the source."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import psycopg2

from millrace.base.naming import DELETED_AT, quote
from tests.log_histories.log_source import Rows
from tests.support.engine import PIPELINE
from tests.torture.warehouse import NO_SUCH_TABLE

IS_CURRENT, START, END = "is_current", "start_date", "end_date"


@dataclass(frozen=True)
class LogTarget:
    """``rows``: the ones that are there now, by key; ``marked``: keys that are marked as deleted; ``doubled``: keys
    that are there more than once, or have two versions of one time."""

    rows: Rows
    marked: Set[int]
    doubled: Set[int]
    versions: int

    def wrong_rows(self, expected: Rows, *, keeps_deleted: bool) -> tuple[set[int], set[int]]:
        """Keys of rows that lack, or hold something else than expected; and of rows that are there without need."""
        lacking = {key for key, row in expected.items() if not _holds(self.rows.get(key), row)}
        surplus = set() if keeps_deleted else self.rows.keys() - expected.keys()
        return lacking, surplus | (self.marked & expected.keys())


def _holds(row: dict[str, Any] | None, expected: dict[str, Any]) -> bool:
    return row is not None and all(row.get(name) == value for name, value in expected.items())


def read_target(connection: Any, name: str) -> LogTarget | None:
    """The target of this name; None: there is none."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"SELECT * FROM {quote(PIPELINE, name)}")
        except psycopg2.Error as error:
            if error.pgcode != NO_SUCH_TABLE:
                raise
            return None
        names = [column[0] for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for row in found:
        row["note"] = row["note"] and hashlib.md5(row["note"].encode(), usedforsecurity=False).hexdigest()
    live = [row for row in found if row.get(DELETED_AT) is None and row.get(IS_CURRENT, True)]
    counted = Counter(row["id"] for row in live)
    marked = {row["id"] for row in found if row.get(DELETED_AT) is not None and IS_CURRENT not in row}
    doubled = {key for key, times in counted.items() if times > 1} | _overlapping(found)
    return LogTarget({row["id"]: row for row in live}, marked, doubled, len(found))


def _overlapping(found: list[dict[str, Any]]) -> set[int]:
    versions = sorted((row["id"], row[START], row[END]) for row in found if START in row)
    return {before[0] for before, after in pairwise(versions) if before[0] == after[0] and before[2] >= after[1]}
