"""Add streams for tables that are new since a file was written, and tell what else is new."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import unified_diff

from millrace.base.errors import ConfigurationError
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.source_kinds import SourceReference
from millrace.discovery.propose import ProposedStream, propose_streams
from millrace.discovery.write_file import MARK, import_line, imports_of, write_stream
from millrace.sources.found import FoundTable


def propose_new(
    pipeline: Pipeline, reference: SourceReference, tables: Iterable[FoundTable]
) -> tuple[list[ProposedStream], list[str]]:
    """Return a stream for each table that no stream of the pipeline reads, and what to know about the others.

    A new column needs no change of the file, unless it has no type in the warehouse.
    """
    declared = {
        (stream.reference.connection, stream.reference.schema, stream.reference.name): stream
        for stream in pipeline.streams
        if stream.reference.kind == reference.kind
    }
    new, notes = [], []
    for table in tables:
        stream = declared.get((reference.connection, table.schema, table.name))
        if stream is None:
            new += [] if _is_covered(pipeline, reference, table) else [table]
            continue
        notes += [
            f"stream {stream.name}: column {column.name} is {column.type_name}, which has no type in the warehouse: "
            "declare it in types, or in omitted"
            for column in table.columns
            if column.type is None and column.type_name != "null" and stream.selects(column.name)
            if column.name not in {*stream.types, *stream.omitted}
        ]
    return propose_streams(reference, new, [member.name for member in pipeline.members]), notes


def _is_covered(pipeline: Pipeline, reference: SourceReference, table: FoundTable) -> bool:
    """Return whether a wildcard of the pipeline names a table."""
    return any(wildcard.covers(replace(reference, name=table.name)) for wildcard in pipeline.wildcards)


def extend_file(text: str, place: str, streams: Sequence[ProposedStream]) -> str:
    """Return the text of a pipeline's file with more streams.

    Raises ConfigurationError if the file has lost the line above which they are added.
    """
    if MARK not in text:
        raise ConfigurationError(
            f"it lacks the line `{MARK.strip()}`, above which streams are added",
            place=place,
            remedy="write that line at the end of the list of streams, or use another --output",
        )
    added = "\n".join(line for stream in streams for line in write_stream(stream))
    return _with_imports(text.replace(MARK, f"{added}\n{MARK}", 1), imports_of(streams))


def diff_files(before: str, after: str, name: str) -> str:
    """Return the difference of two texts as a unified diff; '' if they are equal."""
    lines = unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), name, name)
    return "".join(lines)


def _with_imports(text: str, names: set[str]) -> str:
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and node.module == "millrace":
            imported = {alias.name for alias in node.names}
            if names <= imported or any(alias.asname for alias in node.names):
                break
            lines = text.splitlines()
            lines[node.lineno - 1 : node.end_lineno] = import_line(imported | names).splitlines()
            return "\n".join(lines) + "\n"
    return text
