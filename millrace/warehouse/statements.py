"""The one builder of the SQL that stages and applies a batch, for every warehouse.

Written in what Redshift and Postgres share: no MERGE, RETURNING or ON CONFLICT. A changed row is deleted and
inserted, which is what Redshift's MERGE does underneath. Names are quoted in naming.py; values are parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millrace.base.naming import DELETED_AT, LOADED_AT, ROW_HASH, literal, quote, quote_list
from millrace.base.types import Column, Kind
from millrace.drivers.session_settings import ENCODING
from millrace.hashes.content_hash import CONTENT_HASH
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.target import Target

SCAN, CONTENT = "millrace_scan", "millrace_content"
IS_NEW, ORDINAL, WAS_SCANNED = "is_new$", "ordinal$", "was_scanned$"
"""Helper columns. No column or table of a user has a $ in its name, so nothing of theirs can be taken for ours."""
CURSOR = "millrace_differences"
MIDDLE_SHARE, OLDEST_SHARE = 0.5, 0.05


_OTHER_CONTENT = f"(c.{quote(CONTENT_HASH)} IS NULL OR c.{quote(CONTENT_HASH)} <> s.{quote(CONTENT_HASH)})"


def create_stage(table: str, columns: Sequence[Column], longest_bytes: Mapping[str, int], dialect: Dialect) -> str:
    """A temporary table that holds files as they lie in the lake, for this session only."""
    typed = [
        f"{quote(column.name)} {dialect.stage_type(column.type, longest_bytes.get(column.name, 0))}"
        for column in columns
    ]
    return f"CREATE TEMPORARY TABLE {quote(table)} ({', '.join(typed)})"


def copy_from_lake(table: str, columns: Sequence[str], manifest_uri: str, iam_role: str) -> str:
    """Redshift's COPY; columns map by position, so the list is that of the very files."""
    return (
        f"COPY {quote(table)} ({quote_list(columns)}) FROM {literal(manifest_uri)} "
        f"IAM_ROLE {_role(iam_role)} FORMAT AS PARQUET MANIFEST"
    )


def unload_to_lake(query: str, uri: str, iam_role: str) -> str:
    """Redshift's UNLOAD into files whose addresses begin so, each small enough for a temporary file."""
    return f"UNLOAD ({literal(query)}) TO {literal(uri)} IAM_ROLE {_role(iam_role)} FORMAT AS PARQUET MAXFILESIZE 64 MB"


def _role(iam_role: str) -> str:
    return "DEFAULT" if iam_role.lower() == "default" else literal(iam_role)


def copy_from_client(table: str, columns: Sequence[str]) -> str:
    """Postgres's COPY through the connection."""
    return f"COPY {quote(table)} ({quote_list(columns)}) FROM STDIN (FORMAT csv, ENCODING '{ENCODING}')"


def count_null_keys(table: str, keys: Sequence[str]) -> str:
    """Rows of a stage whose key is not whole."""
    return f"SELECT count(*) FROM {quote(table)} WHERE {' OR '.join(f'{quote(key)} IS NULL' for key in keys)}"


def count_repeated_keys(table: str, keys: Sequence[str], identity: str) -> str:
    """Keys that a stage holds for more than one row of the source."""
    rows = f"count(DISTINCT {quote(identity)})" if identity else "count(*)"
    grouped = f"SELECT 1 AS one FROM {quote(table)} GROUP BY {quote_list(keys)} HAVING {rows} > 1"
    return f"SELECT count(*) FROM ({grouped}) AS repeated"


def create_delta(
    target: Target, columns: Sequence[Column], latest: str | None, *, only_new: bool = False, by_value: bool = False
) -> str:
    """What differs from the target, decided by the row hash (``only_new``: what it lacks), or ``by_value`` as well.
    ``latest`` (a column) is given where one row may have been read twice: then its latest reading counts."""
    values = staged_values(target, columns)
    own = [f"{value} AS {quote(name)}" for name, value in values.items()]
    matches = " AND ".join(f"t.{quote(key)} = {values[key]}" for key in target.keys)
    is_absent = f"t.{quote(target.keys[0])} IS NULL"
    is_new = f"CASE WHEN {is_absent} THEN 1 ELSE 0 END AS {quote(IS_NEW)}"
    row_hash = quote(ROW_HASH)
    where = is_absent if only_new else differs(target.keys, marks_deleted=target.marks_deleted)
    if by_value:
        is_altered = holds_other_values(target, columns, "t", values)
        where += f" OR (t.{row_hash} = s.{row_hash} AND ({is_altered}))"
    return (
        f"CREATE TEMPORARY TABLE {quote(target.delta)} AS SELECT {', '.join(own)}, s.{row_hash} AS {row_hash}, "
        f"{is_new} FROM {staged_rows(target, latest)} AS s LEFT JOIN {target.quoted} AS t ON {matches} WHERE {where}"
    )


def holds_other_values(target: Target, columns: Sequence[Column], held: str, arriving: Mapping[str, str]) -> str:
    """A condition: a row ``held`` of the target has another value than the one arriving, whatever the hashes say."""
    kept = [column for column in columns if column.name not in {*target.keys, *target.consumed}]
    unlike = [
        target.dialect.unlike(column.type, f"{held}.{quote(column.name)}", arriving[column.name]) for column in kept
    ]
    return " OR ".join(unlike) or "1 = 0"


def staged_values(target: Target, columns: Sequence[Column]) -> dict[str, str]:
    """Of a row ``s`` of the stage: by column, the expression in the column's own type."""
    return {column.name: target.dialect.unstage(column.type, f"s.{quote(column.name)}") for column in columns}


def count_unlike_held(target: Target, columns: Sequence[Column]) -> str:
    """Rows of the stage whose key the target holds with other content."""
    values = staged_values(target, columns)
    matches = " AND ".join(f"t.{quote(key)} = {values[key]}" for key in target.keys)
    return (
        f"SELECT count(*) FROM {quote(target.stage)} AS s JOIN {target.quoted} AS t ON {matches} "
        f"WHERE t.{quote(ROW_HASH)} <> s.{quote(ROW_HASH)}"
    )


def match(left: str, right: str, keys: Sequence[str]) -> str:
    """A condition: two relations have the same key, column by column."""
    return " AND ".join(f"{left}.{quote(key)} = {right}.{quote(key)}" for key in keys)


def differs(keys: Sequence[str], *, marks_deleted: bool) -> str:
    """Of a row ``s`` and the target's row ``t``, if there is any."""
    key, row_hash = quote(keys[0]), quote(ROW_HASH)
    is_back = f" OR t.{quote(DELETED_AT)} IS NOT NULL" if marks_deleted else ""
    return f"(t.{key} IS NULL OR t.{row_hash} IS NULL OR t.{row_hash} <> s.{row_hash}{is_back})"


def staged_rows(target: Target, latest: str | None) -> str:
    """The stage as a relation, of repeated readings the one that counts: the latest, or any one where '' says that rows
    have no stamp."""
    if latest is None:
        return quote(target.stage)
    order = f"{quote(latest)} DESC NULLS LAST, {quote(ROW_HASH)}" if latest else quote(ROW_HASH)
    return first_of_each(quote(target.stage), target.keys, order)


def first_of_each(table: str, keys: Sequence[str], order: str) -> str:
    """A relation with one row per key of another one."""
    numbered = f"row_number() OVER (PARTITION BY {quote_list(keys)} ORDER BY {order}) AS {quote(ORDINAL)}"
    return f"(SELECT * FROM (SELECT *, {numbered} FROM {table}) AS n WHERE {quote(ORDINAL)} = 1)"


def among(keys: Sequence[str], table: str, prefix: str = "") -> str:
    """A condition: the key is one of those in a table."""
    return f"({quote_list(keys, prefix)}) IN (SELECT {quote_list(keys)} FROM {quote(table)})"


def count_delta(target: Target) -> str:
    """New rows and changed rows of the delta."""
    return f"SELECT coalesce(sum({quote(IS_NEW)}), 0), count(*) FROM {quote(target.delta)}"


def count_repeated_in_target(target: Target) -> str:
    """Changed rows that met more than one row of the target."""
    changed = f"SELECT 1 AS one FROM {quote(target.delta)} WHERE {quote(IS_NEW)} = 0 GROUP BY {quote_list(target.keys)}"
    return f"SELECT count(*) FROM ({changed} HAVING count(*) > 1) AS repeated"


def delete_changed(target: Target) -> str:
    """Take out the old version of every changed row."""
    matches = match(target.quoted, "d$", target.keys)
    return f"DELETE FROM {target.quoted} USING {quote(target.delta)} AS d$ WHERE {matches} AND d$.{quote(IS_NEW)} = 0"


def insert_delta(target: Target, columns: Sequence[Column]) -> str:
    """Put in new and changed rows, and the columns that are joined to them. One parameter: the batch's load time."""
    return insert_rows(target, [*(column.name for column in columns), ROW_HASH], quote(target.delta))


def insert_rows(target: Target, names: Sequence[str], rows: str) -> str:
    """Put in these columns of a relation. One parameter: the batch's load time."""
    joined = target.joins
    values = [f"d$.{quote(name)}" for name in names] + [one.value for one in joined]
    joins = "".join(f" {one.join}" for one in joined)
    return (
        f"INSERT INTO {target.quoted} ({quote_list([*names, *(one.column for one in joined), LOADED_AT])}) "
        f"SELECT {', '.join(values)}, %s::TIMESTAMPTZ FROM {rows} AS d${joins}"
    )


def find_gone(target: Target, present: str, *, is_staged: bool) -> str:
    """Keys of the target (of its rows ``present``) that a complete stage lacks; of all rows, where nothing was staged
    because nothing is left."""
    matches = match("t", "s", target.keys)
    join = f" LEFT JOIN {quote(target.stage)} AS s ON {matches}" if is_staged else ""
    lacking = [f"s.{quote(target.keys[0])} IS NULL"] if is_staged else []
    there = [f"t.{quote(DELETED_AT)} IS NULL"] if target.marks_deleted else []
    where = f" WHERE {' AND '.join([*lacking, *there])}" if lacking or there else ""
    return (
        f"CREATE TEMPORARY TABLE {quote(target.gone)} AS SELECT {quote_list(target.keys, 't.')} "
        f"FROM {present} AS t{join}{where}"
    )


def find_left(target: Target, present: str, *, is_staged: bool, is_new: bool) -> str:
    """Keys of the target (of its rows ``present``) whose row holds one of the root's keys in ``left``, and that are not
    staged; to those in ``gone``, if that is not ``is_new``."""
    join = f" LEFT JOIN {quote(target.stage)} AS s ON {match('t', 's', target.keys)}" if is_staged else ""
    lacking = [f"s.{quote(target.keys[0])} IS NULL"] if is_staged else []
    there = [f"t.{quote(DELETED_AT)} IS NULL"] if target.marks_deleted else []
    where = f" WHERE {' AND '.join([*lacking, *there])}" if lacking or there else ""
    into = (
        f"CREATE TEMPORARY TABLE {quote(target.gone)} AS"
        if is_new
        else f"INSERT INTO {quote(target.gone)} ({quote_list(target.keys)})"
    )
    roots = f"JOIN {quote(target.left)} AS l ON {match('t', 'l', target.root_columns)}"
    return f"{into} SELECT DISTINCT {quote_list(target.keys, 't.')} FROM {present} AS t {roots}{join}{where}"


def delete_gone(target: Target) -> str:
    """Take out the rows that left the source."""
    return (
        f"DELETE FROM {target.quoted} USING {quote(target.gone)} AS d$ WHERE {match(target.quoted, 'd$', target.keys)}"
    )


def mark_gone(target: Target) -> str:
    """Mark the rows that left the source. Two parameters: the load time, twice."""
    marks = f"{quote(DELETED_AT)} = %s::TIMESTAMPTZ, {quote(LOADED_AT)} = %s::TIMESTAMPTZ"
    matches = f"{match(target.quoted, 'd$', target.keys)} AND {target.quoted}.{quote(DELETED_AT)} IS NULL"
    return f"UPDATE {target.quoted} SET {marks} FROM {quote(target.gone)} AS d$ WHERE {matches}"


def insert_unknown(rows: str, column: str, dimension: Target, types: Mapping[str, str]) -> str:
    """Rows of a dimension for keys in ``column`` of a relation that it lacks. Parameters: a value for each column of
    ``types``, then the load time, twice if the dimension marks deleted rows."""
    key = quote(dimension.keys[0])
    given = {name: f"CAST(%s AS {type_name})" for name, type_name in types.items()}
    given |= {ROW_HASH: "''", LOADED_AT: "%s::TIMESTAMPTZ"}
    given |= {DELETED_AT: "%s::TIMESTAMPTZ"} if dimension.marks_deleted else {}
    return (
        f"INSERT INTO {dimension.quoted} ({quote_list([dimension.keys[0], *given])}) "
        f"SELECT DISTINCT f.{quote(column)}, {', '.join(given.values())} FROM {rows} AS f "
        f"LEFT JOIN {dimension.quoted} AS t ON t.{key} = f.{quote(column)} "
        f"WHERE t.{key} IS NULL AND f.{quote(column)} IS NOT NULL"
    )


def changed_stamps(target: Target, kind: Kind | None, since: float) -> str:
    """Of the rows of the delta: how many have a stamp at or after ``since``, how many have an older one or none, and of
    the former the middle, the twentieth and the first. All in seconds since 1970. ``kind`` is the stamp's."""
    at = quote(target.stamp)
    if target.stamps_in and kind is Kind.TIMESTAMP:
        at = f"({at} AT TIME ZONE {literal(target.stamps_in)})"
    stamp = f"EXTRACT(EPOCH FROM {at})::DOUBLE PRECISION"
    fresh = f"CASE WHEN at >= {since!r} THEN at END"
    percentiles = ", ".join(
        f"percentile_cont({share}) WITHIN GROUP (ORDER BY {fresh})" for share in (MIDDLE_SHARE, OLDEST_SHARE)
    )
    return (
        f"SELECT count({fresh}), count(*) - count({fresh}), {percentiles}, min({fresh}) "
        f"FROM (SELECT {stamp} AS at FROM {quote(target.delta)}) AS stamped"
    )


def count_keys(table: str, keys: Sequence[str]) -> str:
    """Distinct keys of a stage."""
    return f"SELECT count(*) FROM (SELECT DISTINCT {quote_list(keys)} FROM {quote(table)}) AS keys"


def differing_keys(target: str, keys: Sequence[str], differs: str, missing: str, *, is_deep: bool) -> str:
    """Keys, each once, of the scan whose row ``differs``, or (``is_deep``) whose content does; and of rows ``t`` of the
    target that the scan lacks, as far as they are ``missing`` (a condition). Tells with 1 and 0 which of them the scan
    has, and which of those are new to the target."""
    key = quote(keys[0])
    names = ", ".join(f"coalesce(s.{quote(name)}, t.{quote(name)}) AS {quote(name)}" for name in keys)
    content = f" LEFT JOIN {quote(CONTENT)} AS c ON {match('c', 's', keys)}" if is_deep else ""
    condition = f"{differs} OR {_OTHER_CONTENT}" if is_deep else differs
    return (
        f"SELECT DISTINCT {names}, CASE WHEN s.{key} IS NULL THEN 0 ELSE 1 END AS {quote(WAS_SCANNED)}, "
        f"CASE WHEN s.{key} IS NOT NULL AND t.{key} IS NULL THEN 1 ELSE 0 END AS {quote(IS_NEW)} "
        f"FROM {quote(SCAN)} AS s FULL JOIN {target} AS t ON {match('t', 's', keys)}{content} "
        f"WHERE (s.{key} IS NOT NULL AND ({condition})) OR (s.{key} IS NULL AND {missing})"
    )


def count_sides(differing: str) -> str:
    """How many of the ``differing_keys`` the scan has, and how many the target."""
    return (
        f"SELECT coalesce(sum({quote(WAS_SCANNED)}), 0), count(*) - coalesce(sum({quote(IS_NEW)}), 0) "
        f"FROM ({differing}) AS differing"
    )


def count_altered(target: str, keys: Sequence[str], differs: str) -> str:
    """Rows of the target that do not differ from the scan but for their content."""
    return (
        f"SELECT count(*) FROM {quote(SCAN)} AS s JOIN {target} AS t ON {match('t', 's', keys)} "
        f"LEFT JOIN {quote(CONTENT)} AS c ON {match('c', 's', keys)} WHERE NOT {differs} AND {_OTHER_CONTENT}"
    )


def count(query: str) -> str:
    """The number of rows of a query."""
    return f"SELECT count(*) FROM ({query}) AS counted"


def count_all(relation: str) -> str:
    """The number of rows of a relation (a quoted table, or a query in parentheses)."""
    return f"SELECT count(*) FROM {relation} AS t"


def declare_cursor(differing: str, keys: Sequence[str]) -> str:
    """A cursor over ``differing_keys``, without whether they are new."""
    return f"DECLARE {CURSOR} CURSOR FOR SELECT {quote_list([*keys, WAS_SCANNED])} FROM ({differing}) AS differing"


def fetch(rows: int) -> str:
    """The next rows of the cursor."""
    return f"FETCH FORWARD {rows} FROM {CURSOR}"


def count_first(table: str) -> str:
    """1 when a table (quoted) has rows, else 0."""
    return f"SELECT count(*) FROM (SELECT 1 AS one FROM {table} LIMIT 1) AS first_row"


def count_rows(target: Target, present: str, at_most: int = 0) -> str:
    """The target's rows (those ``present``), without those marked as deleted; of more than ``at_most`` only so many."""
    there = f" WHERE {quote(DELETED_AT)} IS NULL" if target.marks_deleted else ""
    if at_most:
        return f"SELECT count(*) FROM (SELECT 1 AS one FROM {present} AS t{there} LIMIT {at_most}) AS counted"
    return f"SELECT count(*) FROM {present} AS t{there}"


def count_unlike_sample(target: Target, present: str) -> str:
    """Rows of the sample that the target lacks among those ``present``, or holds with another hash."""
    return (
        f"SELECT count(*) FROM {quote(target.sample)} AS s LEFT JOIN {present} AS t "
        f"ON {match('t', 's', target.keys)} WHERE {differs(target.keys, marks_deleted=False)}"
    )


def drop_temporary(table: str) -> str:
    """At the end of a load, and before a repeated one."""
    return f"DROP TABLE IF EXISTS {quote(table)}"
