"""The SQL of a sweep: the difference of a scan of the whole source and a target, counted and fetched in blocks."""

from __future__ import annotations

from collections.abc import Sequence

from millrace.base.naming import quote, quote_list
from millrace.hashes.content_hash import CONTENT_HASH
from millrace.warehouse.difference import Difference
from millrace.warehouse.statements import IS_NEW, match

SCAN, CONTENT = "millrace_scan", "millrace_content"
"""The temporary tables of the scan, and of the content hashes of the target."""
WAS_SCANNED = "was_scanned$"
CURSOR = "millrace_differences"

_OTHER_CONTENT = f"(c.{quote(CONTENT_HASH)} IS NULL OR c.{quote(CONTENT_HASH)} <> s.{quote(CONTENT_HASH)})"


def differing_keys(difference: Difference, is_changed: str, is_wanted: str, *, is_deep: bool) -> str:
    """Return a query for keys that differ between scan and target, each once.

    These are keys of the scan whose row ``is_changed`` or, with ``is_deep``, whose content differs, and keys of absent
    rows of the target that are ``is_wanted``. Two columns tell with 1 and 0 whether the scan has a key, and whether the
    key is new to the target.
    """
    keys, key = difference.keys, quote(difference.keys[0])
    names = ", ".join(f"coalesce(s.{quote(name)}, t.{quote(name)}) AS {quote(name)}" for name in keys)
    content = f" LEFT JOIN {quote(CONTENT)} AS c ON {match('c', 's', keys)}" if is_deep else ""
    condition = f"{is_changed} OR {_OTHER_CONTENT}" if is_deep else is_changed
    return (
        f"SELECT DISTINCT {names}, CASE WHEN {difference.is_absent} THEN 0 ELSE 1 END AS {quote(WAS_SCANNED)}, "
        f"CASE WHEN s.{key} IS NOT NULL AND {difference.is_new} THEN 1 ELSE 0 END AS {quote(IS_NEW)} "
        f"FROM {difference.both}{content} "
        f"WHERE (s.{key} IS NOT NULL AND ({condition})) OR ({difference.is_absent} AND {is_wanted})"
    )


def count_sides(differing: str) -> str:
    """Count the ``differing_keys`` that the scan has, and those that the target has."""
    return (
        f"SELECT coalesce(sum({quote(WAS_SCANNED)}), 0), count(*) - coalesce(sum({quote(IS_NEW)}), 0) "
        f"FROM ({differing}) AS differing"
    )


def count_altered(difference: Difference, is_changed: str) -> str:
    """Count the rows of the target that differ from the scan only in their content."""
    return (
        f"SELECT count(*) FROM {difference.common} LEFT JOIN {quote(CONTENT)} AS c "
        f"ON {match('c', 's', difference.keys)} WHERE NOT {is_changed} AND {_OTHER_CONTENT}"
    )


def declare_cursor(differing: str, keys: Sequence[str]) -> str:
    """Open a cursor over ``differing_keys``, without the column that tells whether a key is new."""
    return f"DECLARE {CURSOR} CURSOR FOR SELECT {quote_list([*keys, WAS_SCANNED])} FROM ({differing}) AS differing"


def fetch_keys(rows: int) -> str:
    """Fetch the next rows of the cursor."""
    return f"FETCH FORWARD {rows} FROM {CURSOR}"
