"""Write proposed streams as the Python file of a pipeline, formatted as Black and Ruff would."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from millrace.declaration.source_kinds import SourceReference
from millrace.discovery.propose import ProposedStream, as_python

WIDTH = 88
"""Longest line, the default of Black and Ruff."""
MARK = "        # New tables: `millrace init` adds them above this line."
"""The line above which a later `init` adds streams."""
NOT_READ = "NOT READ:"
"""How the comment begins that says why a stream cannot run yet."""
GRANTS = {
    "postgres": (
        "GRANT USAGE ON SCHEMA {schema} TO <user>;",
        "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO <user>;",
        "GRANT pg_read_all_stats TO <user>;  -- shows open transactions: without it runs overlap by 15 minutes",
    ),
    "mysql": (
        "GRANT SELECT, SHOW VIEW ON {schema}.* TO <user>;",
        "GRANT PROCESS ON *.* TO <user>;  -- shows open transactions: without it runs overlap by 15 minutes",
    ),
    "mongo": ('db.grantRolesToUser("<user>", [{{role: "read", db: "{schema}"}}])',),
}
"""What the administrator of a source grants, by kind of source."""


def write_file(
    name: str, command: str, references: Sequence[SourceReference], streams: Sequence[ProposedStream]
) -> str:
    """Return the text of a pipeline's file; ``command`` is the command that made it."""
    grants = [line.format(schema=one.schema) for one in references for line in GRANTS.get(one.kind.name, ())]
    lines = [
        f'"""Pipeline {name}, proposed by `{command}`. Read it, then type `millrace plan` with this file.',
        "",
        "What the administrator of the source grants to the user of the connection:",
        "",
        *(f"    {line}" for line in dict.fromkeys(grants)),
        '"""',
        "",
        import_line({"Pipeline", "Stream", *imports_of(streams)}),
        "",
        "pipeline = Pipeline(",
        f'    name="{name}",',
        '    schedule="*/20 * * * *",  # of its deployment: every 20 minutes (UTC)',
        "    # Guards: a run stops before it commits if a stream rejects more than max_rejects",
        "    # (1000) rows or max_reject_share (0.1) of them, or loses more than max_delete_share",
        "    # (0.5) of its target. `millrace run --accept-rejects` or --allow-deletes goes on.",
        "    streams=[",
        *(line for stream in streams for line in write_stream(stream)),
        MARK,
        "    ],",
        ")",
        "",
    ]
    return "\n".join(lines)


def imports_of(streams: Sequence[ProposedStream]) -> set[str]:
    """Return the names that the streams use, all exported by millrace."""
    text = " ".join(part for one in streams for part in (one.capture, one.load, *(kind for _, kind in one.types)))
    return {name for name in ("DOCUMENT", "Incremental", "Replace", "Snapshot", "text") if name in text}


def write_stream(stream: ProposedStream) -> Iterator[str]:
    """Yield the lines of a stream, with its notes as comments; a stream that is refused is a comment itself."""
    for note in stream.notes:
        yield from _comment(note)
    lines = list(_call(stream))
    if stream.refused_because:
        yield from _comment(f"{NOT_READ} {stream.refused_because}")
        lines = [f"        # {line.removeprefix('        ')}" for line in lines]
    yield from lines


def _call(stream: ProposedStream) -> Iterator[str]:
    key = stream.key[0] if len(stream.key) == 1 else list(stream.key) if stream.key else ""
    types = ", ".join(f"{as_python(name)}: {kind}" for name, kind in stream.types)
    arguments = [
        as_python(stream.name),
        as_python(stream.source),
        _list(key) if isinstance(key, list) else as_python(key),
        stream.capture,
        *([f"load={stream.load}"] if stream.load else []),
        *([f"sweep={as_python(stream.sweep)}"] if stream.sweep else []),
        *([f"types={{{types}}}"] if types else []),
        *([f"omitted={_list(stream.omitted)}"] if stream.omitted else []),
        *([f"max_delete_share={stream.max_delete_share}"] if stream.max_delete_share is not None else []),
    ]
    line = f"        Stream({', '.join(arguments)}),"
    if len(line) <= WIDTH:
        yield line
        return
    yield "        Stream("
    yield from (f"            {argument}," for argument in arguments)
    yield "        ),"


def _comment(note: str) -> Iterator[str]:
    line = "        #"
    for word in note.split():
        if len(line) + 1 + len(word) > WIDTH:
            yield line
            line = "        #  "
        line = f"{line} {word}"
    yield line


def import_line(names: Iterable[str]) -> str:
    """Return the import of names from millrace, in the order that isort and Ruff give them."""
    ordered = sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    line = f"from millrace import {', '.join(ordered)}"
    if len(line) <= WIDTH:
        return line
    return "\n".join(["from millrace import (", *(f"    {name}," for name in ordered), ")"])


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(map(as_python, names))}]"
