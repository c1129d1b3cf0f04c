"""How results look in a terminal.

What does not belong here: getting them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from flows.seed import SeedReport
from millrace.collect import Collected
from seed_data.events.sending import Sent
from tasks.plan import StreamPlan
from tasks.rejects import Rejects
from tasks.report import RunReport
from tasks.simulating import Simulated

MINIMUM_WIDTH = 128


def console() -> Console:
    """Wide enough for a report also where the output is a pipe."""
    return Console(width=max(Console().width, MINIMUM_WIDTH), highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_lines(lines: Sequence[str]) -> None:
    """One per line."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def print_collected(collected: Mapping[str, Collected]) -> None:
    """A row per stream."""
    table = Table(*("stream", "messages", "objects", "will come again"))
    for stream, one in collected.items():
        table.add_row(stream, *(f"{count:,}" for count in (one.messages, one.objects, one.returning)))
    console().print(table)


def print_report(report: RunReport, title: str = "") -> None:
    """A row per stream; read = loaded + unchanged + rejected."""
    table = Table(title=title or None, title_justify="left")
    table.add_column("stream", no_wrap=True)
    table.add_column("target", no_wrap=True)
    table.add_column("by", no_wrap=True)
    for name in ("read", "loaded", "inserted", "updated", "deleted", "unchanged", "rejected", "s"):
        table.add_column(name, justify="right")
    for stream in report.streams:
        counts = (stream.read, stream.loaded, stream.inserted, stream.updated, stream.deleted, stream.unchanged)
        table.add_row(
            stream.stream,
            stream.target,
            stream.kind,
            *(f"{count:,}" for count in (*counts, stream.rejected)),
            f"{stream.seconds:.1f}",
        )
    out = console()
    out.print(table)
    for stream in report.streams:
        for remark in (*stream.changes, *filter(None, [stream.note])):
            out.print(f"{stream.stream}: {remark}")


def print_plans(plans: Sequence[StreamPlan]) -> None:
    """Window, query, schema changes and statements of each stream."""
    out = console()
    for plan in plans:
        out.rule(f"{plan.stream}: {plan.source} → {plan.target}", align="left")
        if plan.query:
            out.print(f"{plan.reads:<7} from {plan.lower or 'the beginning'} to {plan.upper or 'now'}")
        out.print(f"changes {'; '.join(plan.changes) or 'none'}")
        if plan.query:
            out.print("query")
            out.print(Syntax(plan.query, "sql", word_wrap=True, background_color="default"))
        if plan.statements:
            out.print("load")
            out.print(Syntax(";\n".join(plan.statements) + ";", "sql", word_wrap=True, background_color="default"))


def print_rejects(found: Sequence[Rejects]) -> None:
    """A row per reason and field, or per rejected row; never its values."""
    table = Table()
    for name in ("stream", "reason", "field"):
        table.add_column(name, overflow="fold")
    table.add_column("rows", justify="right")
    for name in ("last read", "where"):
        table.add_column(name, overflow="fold")
    for one in found:
        where = f"{one.coordinates} in {one.file}" if one.coordinates else one.file
        table.add_row(one.stream, one.reason, one.field, f"{one.rows:,}", f"{one.read_at:%Y-%m-%d %H:%M:%S}", where)
    console().print(table if found else "No rejected rows are open.")


def print_seeded(report: SeedReport) -> None:
    """A row per file."""
    table = Table()
    table.add_column("file")
    for name in ("read", "imported", "updated", "unchanged", "rejected"):
        table.add_column(name, justify="right")
    for outcome in (report.transactions, report.trades):
        counts = (outcome.read, outcome.imported, outcome.updated, outcome.unchanged, outcome.rejected)
        table.add_row(outcome.file, *(f"{count:,}" for count in counts))
    console().print(table)


def print_simulated(simulated: Simulated) -> None:
    """A row per table that changed."""
    table = Table()
    table.add_column("table")
    for name in ("inserted", "updated", "silent", "deleted"):
        table.add_column(name, justify="right")
    for name, counts in simulated.happened.tables.items():
        numbers = (counts.inserted, counts.updated, counts.silent, counts.deleted)
        table.add_row(name, *(f"{number:,}" for number in numbers))
    out = console()
    out.print(table if simulated.happened.tables else "Nothing happened.")
    out.print(f"Simulated from {simulated.start:%Y-%m-%d %H:%M} to {simulated.end:%Y-%m-%d %H:%M} UTC.")


def print_sent(sent: Sent) -> None:
    """A row per kind of message."""
    table = Table()
    table.add_column("messages")
    table.add_column("sent", justify="right")
    for kind, count in {"valid": sent.valid, "duplicates": sent.duplicates}.items():
        table.add_row(kind, f"{count:,}")
    for kind, count in sent.malformed.items():
        table.add_row(f"malformed: {kind}", f"{count:,}")
    out = console()
    out.print(table)
    out.print(f"{sent.messages:,} messages sent.")
