"""Propose a stream for a table: its key, its capture, what cannot be replicated, and the reason for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from millrace.base.escaping import escape_unprintable
from millrace.base.naming import MAX_NAME_BYTES, column_name
from millrace.base.types import TIME_KINDS, UNCONSTRAINED_NUMERIC, Kind
from millrace.declaration.source_kinds import SourceReference
from millrace.runs.scan import COMPARABLE_KINDS
from millrace.sources.documents import escape_step
from millrace.sources.found import FoundColumn, FoundTable

LARGE_ROWS, LARGE_BYTES = 5_000_000, 2 * 1024**3
"""A table of more is read as a whole in minutes, not in seconds (docs/measured.md)."""
DELETE_SHARE_OF_LARGE = 0.1
"""Largest share of a large table that a run may delete: in millions of rows, more at once is often an accident."""
MANY_FIELDS = 50
"""A document with more different names of fields is taken for a map whose names are data."""
_UPDATED = re.compile(
    r"(last_?)?(update|updated|modified|modification|mod|changed|change|edited|touched)"
    r"(_?(at|on|date|time|datetime|timestamp|ts|utc))*|last_(update|change|write)s?(_.*)?"
)
_PERSONAL = re.compile(
    r"(^|_)(e_?mail|phone|mobile|fax|iban|bic|ssn|passport|tax_id|birth(day|date)?|dob|salary|password|passwd|pwd|secret|"
    r"token|api_key|card_number|credit_card|first_name|last_name|full_name|street|ip_address)(_|$)"
)
_APPENDED = re.compile(
    r"(^|_)(logs?|events?|audits?|history|journal|ledger|entry|entries|messages?|clicks?|visits?|measurements?|readings?|"
    r"transactions?|postings?)(_|$)"
)
"""Names of tables whose rows are seldom updated."""
DOCUMENT_ID, OBJECT_ID = "_id", "objectId"
DeclaredType = Literal["DOCUMENT", "text()"]
"""A type that is declared for a column, as Python."""


_UNUSABLE = re.compile(r"[\x00-\x1f\x7f]")
"""What no identifier may contain (base/naming.py)."""


@dataclass(frozen=True)
class ProposedStream:
    """A stream as it is written into the file of a pipeline."""

    name: str
    """Name of the stream."""
    source: str
    """The table, as a stream names it."""
    key: tuple[str, ...]
    """The columns of the key; (): there is none."""
    cursor: str = ""
    """The cursor column of ``Incremental``; '': ``Snapshot``."""
    sweep: str = ""
    """When source and target are compared; '': never by itself."""
    types: tuple[tuple[str, DeclaredType], ...] = ()
    """Declared types, as Python, by column."""
    omitted: tuple[str, ...] = ()
    """Columns that are left out."""
    max_delete_share: float | None = None
    """The largest share of the target that a run may delete; None: the default."""
    notes: tuple[str, ...] = ()
    """What a person should know, a line each."""
    refused_because: str = ""
    """Why the stream cannot run yet, so that it is written as a comment; '': it can."""

    @property
    def capture(self) -> str:
        """The capture, as Python."""
        return f"Incremental({as_python(self.cursor)})" if self.cursor else "Snapshot()"

    @property
    def load(self) -> str:
        """The load mode, as Python; '': the default."""
        return "" if self.key else "Replace()"


def as_python(text: str) -> str:
    """Return a text as Python, in double quotes where that needs no backslash."""
    shown = repr(text)
    return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown and "\\'" not in shown else shown


def propose_streams(
    reference: SourceReference, tables: Iterable[FoundTable], taken: Iterable[str] = ()
) -> list[ProposedStream]:
    """Return a stream for each table. Names differ from one another and from those that are ``taken``."""
    used, proposed = set(taken), []
    for table in dict.fromkeys(tables):
        name = _name(table, used)
        used.add(name)
        proposed.append(propose_stream(reference, table, name))
    return proposed


def name_stream(table: str) -> str:
    """Return the name of a stream for the name of a table."""
    plain = column_name(table).strip("_") or "table"
    return (f"t_{plain}" if plain[0].isdigit() else plain)[: MAX_NAME_BYTES - 10]


def _name(table: FoundTable, used: set[str]) -> str:
    plain = name_stream(table.name)
    with_schema = name_stream(f"{table.schema}_{plain}")
    choices = (plain, with_schema, *(f"{plain}_{number}" for number in range(2, 1000)))
    return next(choice for choice in choices if choice not in used)


def name_source(reference: SourceReference, table: FoundTable) -> str:
    """Return a table as a stream names it."""
    connection = f"/{reference.connection}" if reference.connection else ""
    return f"{reference.kind.name}{connection}:{table.schema}.{table.name}"


def propose_stream(reference: SourceReference, table: FoundTable, name: str) -> ProposedStream:
    """Return a stream for a table."""
    columns = {column.name: column for column in table.columns}
    omitted = tuple(column.name for column in table.columns if not _can_be_read(column))
    key, key_note = _choose_key(table, {*columns, *table.primary_key} - {*omitted})
    stream = ProposedStream(
        name,
        name_source(reference, table),
        key,
        types=tuple(_types(table.columns)),
        omitted=omitted,
        max_delete_share=DELETE_SHARE_OF_LARGE if _is_large(table) else None,
        notes=(_describe(table), *filter(None, [key_note]), *_notes(table.columns)),
        refused_because=_refusal(table),
    )
    return _with_capture(stream, table, columns)


def _is_large(table: FoundTable) -> bool:
    return table.rows > LARGE_ROWS or table.size_bytes > LARGE_BYTES


def _can_be_read(column: FoundColumn) -> bool:
    has_type = column.type is not None or column.can_be_text or column.type_name == "null"
    return has_type and not _UNUSABLE.search(column.name)


def _choose_key(table: FoundTable, usable: set[str]) -> tuple[tuple[str, ...], str]:
    if table.primary_key and usable.issuperset(table.primary_key):
        return table.primary_key, ""
    unique = sorted((key for key in table.unique_keys if usable.issuperset(key)), key=len)
    if unique:
        return unique[0], "no primary key: the unique key is taken, whose columns are never NULL"
    return (), "" if table.kind in {"view", "materialized view"} else "no key: rows are told by their content"


def _with_capture(stream: ProposedStream, table: FoundTable, columns: Mapping[str, FoundColumn]) -> ProposedStream:
    cursor, reason = _choose_cursor(table)
    if cursor and stream.key and table.kind in {"table", "collection"}:
        kinds = [columns[name].type for name in stream.key if name in columns]
        can_compare = all(kind is not None and kind.kind in COMPARABLE_KINDS for kind in kinds)
        note = "" if can_compare else "no sweep, so deletes are not seen: a sweep cannot compare keys of this type"
        return replace(
            stream,
            cursor=cursor.name,
            sweep="daily" if can_compare else "",
            notes=(*stream.notes, reason, *_zone_note(cursor), *filter(None, [note])),
        )
    large = _is_large(table)
    growing = _find_growing(stream, columns)
    if growing and large and (evidence := _find_appended(table)):
        reason = (
            f"{growing} grows with every insert, and {evidence}: runs bring new rows, the sweep brings updates and "
            "deletes. CHECK that rows are hardly ever updated"
        )
        return replace(stream, cursor=growing, sweep="daily", notes=(*stream.notes, reason))
    warning = (
        "LARGE, and every run reads all of it: add a timestamp that every insert and update sets, with an index"
        if large
        else "no column says when a row was changed: every run reads all rows"
    )
    proposal = f'if rows are only inserted: Incremental({as_python(growing)}), sweep="daily"' if growing else ""
    return replace(stream, notes=(*stream.notes, warning, *filter(None, [proposal])))


def _find_growing(stream: ProposedStream, columns: Mapping[str, FoundColumn]) -> str:
    """Return the key if the server, or its drivers, give it values that grow with every insert; else ''."""
    found = columns.get(stream.key[0]) if len(stream.key) == 1 else None
    if found is None:
        return ""
    is_object_id = found.name == DOCUMENT_ID and found.type_name == OBJECT_ID
    return found.name if found.is_growing or is_object_id else ""


def _find_appended(table: FoundTable) -> str:
    """Return why the rows of a table are believed to be inserted only; '': nothing speaks for it."""
    if table.update_triggers:
        return ""
    if _APPENDED.search(column_name(table.name)):
        return "the name of the table speaks for inserts only"
    set_by_inserts = [column.name for column in table.columns if column.is_set_by_inserts]
    return f"the server sets {set_by_inserts[0]} at inserts only" if set_by_inserts else ""


def _choose_cursor(table: FoundTable) -> tuple[FoundColumn | None, str]:
    """Return the column that says when a row was changed, and why it is believed to."""
    moments = [column for column in table.columns if column.type is not None and column.type.kind in TIME_KINDS]
    named = [column for column in moments if _UPDATED.fullmatch(column_name(column.name))]
    for column in moments:
        if column.is_set_by_updates:
            return column, f"the server sets {column.name} at every update"
    for column in named:
        if table.update_triggers:
            return column, f"{column.name} by its name; trigger {table.update_triggers[0]} runs at every update"
    for column in named:
        return column, f"{column.name} by its name: CHECK that every insert and update sets it"
    return None, ""


def _zone_note(cursor: FoundColumn) -> Iterator[str]:
    if cursor.type is not None and cursor.type.kind is Kind.TIMESTAMP:
        yield f"{cursor.name} has no time zone: declare stamps_in= unless it is written in UTC"


def _types(columns: Sequence[FoundColumn]) -> Iterator[tuple[str, DeclaredType]]:
    for column in columns:
        if column.fields > MANY_FIELDS:
            yield column.name, "DOCUMENT"
        elif column.type is None and column.can_be_text:
            yield column.name, "text()"


def _notes(columns: Sequence[FoundColumn]) -> Iterator[str]:
    for column in columns:
        if _UNUSABLE.search(column.name):
            yield f"{column.name!r} contains a control character: it is left out"
        elif column.fields > MANY_FIELDS:
            yield f"{column.name} has {column.fields} different fields or more, so it stays a document"
        elif column.type is None and column.can_be_text:
            yield f"{column.name} is {column.type_name}, which has no type in the warehouse: it arrives as text"
        elif column.type is None and column.type_name != "null":
            yield f"{column.name} is {column.type_name}, which has no type in the warehouse: it is left out"
        elif column.type == UNCONSTRAINED_NUMERIC:
            yield (
                f"{column.name} takes numbers of 29 digits before the point and 9 after it, and others are rejected: "
                f"types={{{as_python(column.name)}: decimal(38, 18)}} moves the point"
            )
        elif " or " in column.type_name:
            yield f"{column.name} is {column.type_name}: values that do not fit the most frequent type are rejected"
    arrays = [column.name for column in columns if column.has_documents]
    if arrays:
        yield (
            f"{', '.join(arrays)} {'hold' if len(arrays) > 1 else 'holds'} documents: children=["
            f"{', '.join(as_python(escape_step(name)) for name in arrays)}] fills a table with a row for each"
        )
    personal = [column.name for column in columns if _PERSONAL.search(column_name(column.name))]
    if personal:
        yield f"looks personal or secret: {', '.join(personal)} (mask= or omitted=)"


def _describe(table: FoundTable) -> str:
    size = f", {table.size_bytes / 1024**2:,.0f} MB" if table.size_bytes >= 1024**2 else ""
    rows = f": about {table.rows:,} rows{size}" if table.rows > 0 else ""
    return f"{table.kind} {escape_unprintable(f'{table.schema}.{table.name}')}{rows}"


def _refusal(table: FoundTable) -> str:
    if _UNUSABLE.search(table.name):
        return "its name contains a control character: read a view of it"
    if not table.is_readable:
        return "this user may not read it: GRANT SELECT"
    if not table.is_populated:
        return "it was never filled: REFRESH MATERIALIZED VIEW"
    return "" if table.columns else "it has no columns" if table.kind != "collection" else "it has no documents"
