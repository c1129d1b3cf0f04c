"""Add streams for tables that are new since a file was written, and tell what else is new."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import unified_diff

from millrace.base.errors import ConfigurationError
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.source_kinds import SourceReference
from millrace.discovery.propose import ProposedStream, as_python, propose_streams
from millrace.discovery.write_file import MARK, NOT_READ, import_line, imports_of, write_stream
from millrace.sources.found import FoundTable

_COMMENT = "        #"


def propose_new(
    pipeline: Pipeline,
    reference: SourceReference,
    tables: Iterable[FoundTable],
    proposed: Sequence[ProposedStream] = (),
) -> tuple[list[ProposedStream], list[str]]:
    """Return a stream for each table that no stream of the pipeline reads, and what to know about the others.

    A new column needs no change of the file, unless it has no type in the warehouse. ``proposed`` are streams that are
    going to be added as well: no name or table comes twice.
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
    taken = {member.name for member in pipeline.members} | {stream.table for stream in pipeline.streams}
    sources = {stream.source for stream in proposed}
    streams = propose_streams(reference, new, taken | {stream.name for stream in proposed})
    return [stream for stream in streams if stream.source not in sources], notes


def _is_covered(pipeline: Pipeline, reference: SourceReference, table: FoundTable) -> bool:
    """Return whether a wildcard of the pipeline names a table."""
    return any(wildcard.covers(replace(reference, name=table.name)) for wildcard in pipeline.wildcards)


def extend_file(text: str, place: str, streams: Sequence[ProposedStream]) -> str:
    """Return the text of a pipeline's file with more streams.

    A stream that the file has as a comment takes the place of the comment. Raises ConfigurationError if the file has
    lost the line above which streams are added.
    """
    if not streams:
        return text
    if MARK not in text:
        raise ConfigurationError(
            f"it lacks the line `{MARK.strip()}`, above which streams are added",
            place=place,
            remedy="write that line at the end of the list of streams, or use another --output",
        )
    for stream in streams:
        text = _remove_comment(text, stream)
    added = "\n".join(line for stream in streams for line in write_stream(stream))
    return _with_imports(text.replace(MARK, f"{added}\n{MARK}", 1), imports_of(streams))


def leave_out_known(text: str, streams: Sequence[ProposedStream]) -> list[ProposedStream]:
    """Return the streams without those that cannot run yet and that the file has as comments already."""
    return [stream for stream in streams if not stream.refused_because or _find_comment(text, stream) is None]


def _remove_comment(text: str, stream: ProposedStream) -> str:
    found = _find_comment(text, stream)
    lines = text.split("\n")
    return text if found is None else "\n".join([*lines[: found[0]], *lines[found[1] :]])


def _find_comment(text: str, stream: ProposedStream) -> tuple[int, int] | None:
    """Return where the lines of a stream that is a comment begin and end; None if there are none."""
    lines, begin = text.split("\n"), None
    for number, line in enumerate(lines):
        if not line.startswith(_COMMENT) or line == MARK:
            begin = None
            continue
        begin = number if begin is None else begin
        if line.startswith(f"{_COMMENT} ),") or (line.startswith(f"{_COMMENT} Stream(") and line.endswith("),")):
            block = "\n".join(lines[begin : number + 1])
            # With the comma: the name of another table may begin with this one.
            if f"{_COMMENT} {NOT_READ}" in block and f"{as_python(stream.source)}," in block:
                return begin, number + 1
            begin = None
    return None


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
