"""Print results to the terminal, as tables or JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from rich.console import Console
from rich.filesize import decimal
from rich.measure import Measurement
from rich.syntax import Syntax
from rich.table import Table

from millrace.base.escaping import escape_json, escape_unprintable
from millrace.change_logs.reading import KeptLog
from millrace.change_logs.retention import Retention
from millrace.checks.check import CheckOutcome, Result
from millrace.discovery.propose import ProposedStream
from millrace.fixtures.compare import describe_rows
from millrace.fixtures.run_fixtures import MemberResult
from millrace.queues.consumer import Collected
from millrace.runs.reload import ReloadResult
from millrace.seed_data.events.sending import Sent
from millrace.seed_data.simulate_tasks import Simulated
from millrace.seed_data.stori.flow import SeedReport
from millrace.tasks.plan import StreamPlan
from millrace.tasks.rejects import Rejects
from millrace.tasks.reload import ReloadPlan
from millrace.tasks.report import RunReport

MINIMUM_WIDTH = 128
REASON_WIDTH = 40
UNLIMITED_WIDTH = 1_000_000


def console(minimum_width: int = MINIMUM_WIDTH) -> Console:
    """Return a console of at least this width, also for a pipe. It prints text, never markup."""
    return Console(width=max(Console().width, minimum_width), markup=False, emoji=False, highlight=False)


_CHANGES = ("inserted", "updated", "deleted", "rejected")


def print_json(value: Any) -> None:
    """Print a value as one JSON document."""
    sys.stdout.write(escape_json(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()) + "\n")


def print_json_lines(values: Sequence[Any]) -> None:
    """Print each value as one line of JSON."""
    sys.stdout.writelines(f"{escape_json(orjson.dumps(value).decode())}\n" for value in values)


def print_lines(lines: Sequence[str]) -> None:
    """Print lines of text, with control characters escaped."""
    sys.stdout.writelines(f"{escape_unprintable(line)}\n" for line in lines)


def print_table(table: Table) -> None:
    """Print a table, as wide as its numbers need. In a pipe, text is not wrapped either."""
    out = console()
    needed = Measurement.get(out, out.options.update(max_width=UNLIMITED_WIDTH), table)
    console(needed.minimum if out.is_terminal else needed.maximum).print(table)


def print_outcomes(outcomes: Sequence[CheckOutcome]) -> None:
    """Print a line for each check, and below each that failed what fixes it."""
    width = max((len(f"{outcome.place}: {outcome.name}") for outcome in outcomes), default=0)
    lines = []
    for outcome in outcomes:
        lines.append(f"{outcome.result:7}  {f'{outcome.place}: {outcome.name}':{width}}  {outcome.found}")
        lines += [f"{'':7}  {'':{width}}  Remedy: {outcome.remedy}"] if outcome.remedy else []
    wrong = sum(outcome.result is Result.WRONG for outcome in outcomes)
    print_lines([*lines, f"{len(outcomes)} checks, {wrong} wrong." if wrong else f"{len(outcomes)} checks, all ok."])


def _add_numbers(table: Table, *names: str) -> None:
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)


def _add_texts(table: Table, *names: str) -> None:
    for name in names:
        table.add_column(name, overflow="fold")


def _add_row(table: Table, *cells: object) -> None:
    """Add a row: numbers with separators, text with control characters escaped."""
    table.add_row(*(f"{cell:,}" if isinstance(cell, int) else escape_unprintable(cell) for cell in cells))


def print_collected(collected: Mapping[str, Collected]) -> None:
    """Print what consumers collected, with a row per stream."""
    table = Table()
    _add_texts(table, "stream")
    _add_numbers(table, "messages", "objects", "will come again")
    for stream, counts in collected.items():
        _add_row(table, stream, counts.messages, counts.objects, counts.returning)
    print_table(table)


def print_report(report: RunReport, title: str = "") -> None:
    """Print the report of a run with a row per stream (read = loaded + unchanged + rejected).

    The row of a stream that was not loaded says why.
    """
    table = Table(title=escape_unprintable(title) or None, title_justify="left")
    _add_texts(table, "stream", "status", "target", "by")
    _add_numbers(table, "read", "loaded", "inserted", "updated", "deleted", "unchanged", "rejected", "s")
    is_reasoned = any(stream.reason for stream in report.streams)
    if is_reasoned:
        table.add_column("reason", overflow="fold", min_width=REASON_WIDTH)
    for stream in report.streams:
        counts = (stream.read, stream.loaded, stream.inserted, stream.updated, stream.deleted, stream.unchanged)
        names = (stream.stream, stream.status, stream.target, stream.kind)
        reason = [stream.reason] if is_reasoned else []
        _add_row(table, *names, *counts, stream.rejected, f"{stream.seconds:.1f}", *reason)
    print_table(table)
    for stream in report.streams:
        print_lines([f"{stream.stream}: {remark}" for remark in (*stream.changes, *filter(None, [stream.note]))])
    print_lines(report.told)


def print_proposed(streams: Sequence[ProposedStream]) -> None:
    """Print the streams of a new file, with a row per stream."""
    table = Table()
    _add_texts(table, "stream", "source", "key", "capture", "besides")
    for stream in streams:
        besides = [f"load={stream.load}"] if stream.load else []
        besides += [f"omitted {name}" for name in stream.omitted]
        besides += [f"{name}: {kind}" for name, kind in stream.types]
        besides += [f"not read: {stream.refused_because}"] if stream.refused_because else []
        _add_row(table, stream.name, stream.source, ", ".join(stream.key), stream.capture, "; ".join(besides))
    print_table(table)


def print_plans(plans: Sequence[StreamPlan]) -> None:
    """Print window, query, schema changes and SQL statements of each stream."""
    out = console()
    for plan in plans:
        out.rule(escape_unprintable(f"{plan.stream}: {plan.source} → {plan.target}"), align="left")
        if plan.reason:
            out.print(escape_unprintable(plan.refusal))
            continue
        if plan.span:
            out.print(escape_unprintable(plan.span))
        if plan.note:
            out.print(escape_unprintable(f"note: {plan.note}"))
        if plan.sample:
            out.print(escape_unprintable(f"sample {plan.sample}"))
        out.print(f"changes {escape_unprintable('; '.join(plan.changes)) or 'none'}")
        if plan.query:
            out.print("query", _sql(plan.query), sep="\n")
        if plan.statements:
            out.print("load", _sql(plan.load), sep="\n")


def _sql(text: str) -> Syntax:
    return Syntax(escape_unprintable(text, keep="\n\t"), "sql", word_wrap=True, background_color="default")


def print_kept_logs(found: Sequence[KeptLog]) -> None:
    """Print a row per log that is kept for Millrace."""
    table = Table()
    _add_texts(table, "source", "slot", "kept for", "status", "position")
    _add_numbers(table, "kept", "until it is lost")
    for log in found:
        kept_for = "this pipeline" if log.is_own else "another one, or nobody"
        status = f"{log.status}, read now" if log.is_active else log.status
        kept = log.retention.retained_bytes
        _add_row(
            table,
            log.connection,
            log.slot,
            kept_for,
            status,
            log.position,
            "" if kept is None else decimal(kept),
            _describe_remaining(log.retention),
        )
    print_table(table) if found else print_lines(["No change log is kept for Millrace."])


def _describe_remaining(retention: Retention) -> str:
    if retention.remaining_seconds is not None:
        return f"{retention.remaining_seconds / 3600:,.1f} h"
    if retention.remaining_bytes is not None:
        return decimal(retention.remaining_bytes)
    return "not known" if retention.retained_bytes is None else "no limit"


def print_rejects(found: Sequence[Rejects]) -> None:
    """Print a row per reason and field, or per rejected row; never its values."""
    table = Table()
    _add_texts(table, "stream", "reason", "field")
    _add_numbers(table, "rows")
    _add_texts(table, "batch", "last read", "where")
    for rejects in found:
        where = f"{rejects.coordinates} in {rejects.file}" if rejects.coordinates else rejects.file
        batch = "refused" if rejects.is_refused else "loaded"
        _add_row(
            table,
            rejects.stream,
            rejects.reason,
            rejects.field,
            rejects.rows,
            batch,
            f"{rejects.read_at:%Y-%m-%d %H:%M:%S}",
            where,
        )
    print_table(table) if found else print_lines(["No rejected rows are open."])


def print_reload(done: ReloadResult | ReloadPlan) -> None:
    """Print what a model was computed from and how its rows changed, or what a reload would compute it from."""
    table = Table()
    _add_texts(table, "model")
    _add_numbers(table, "groups of batches", *(("rows to read",) if isinstance(done, ReloadPlan) else _CHANGES))
    counts = [done.rows] if isinstance(done, ReloadPlan) else [getattr(done, name) for name in _CHANGES]
    _add_row(table, done.model, done.groups, *counts)
    print_table(table)


def print_fixtures(results: Sequence[MemberResult]) -> None:
    """Print what came of fixture rows: for each stream or model a line with counts, its rows, and its rejects."""
    for result in results:
        rejected = f", {len(result.rejected)} rejected" if result.rejected else ""
        print_lines([f"{result.name}: {len(result.rows)} rows{rejected}"])
        print_lines([f"  {line}" for line in describe_rows(replace(result, rejected=()))])
        print_lines([f"  {one.location}: rejected, {one.reason} {one.field}".rstrip() for one in result.rejected])


def print_seeded(report: SeedReport) -> None:
    """Print a row per imported file, then a row per reason of rejected records."""
    table, rejects = Table(), Table()
    _add_texts(table, "file")
    _add_numbers(table, "read", "imported", "updated", "unchanged", "rejected")
    _add_texts(rejects, "file", "reason")
    _add_numbers(rejects, "rejected", "first at")
    for file in report.files:
        _add_row(table, file.file, file.read, file.imported, file.updated, file.unchanged, file.rejected)
        for why in file.reasons:
            _add_row(rejects, file.file, why.reason, why.records, why.first)
    print_table(table)
    if rejects.row_count:
        print_table(rejects)
        print_lines([f"Rejected records: {file.rejects_key}" for file in report.files if file.rejects_key])


def print_simulated(simulated: Simulated) -> None:
    """Print a row per table that the simulation changed."""
    table = Table()
    _add_texts(table, "table")
    _add_numbers(table, "inserted", "updated", "silent", "deleted")
    for name, counts in simulated.happened.tables.items():
        _add_row(table, name, counts.inserted, counts.updated, counts.silent, counts.deleted)
    print_table(table) if simulated.happened.tables else print_lines(["Nothing happened."])
    print_lines([f"Simulated from {simulated.start:%Y-%m-%d %H:%M} to {simulated.end:%Y-%m-%d %H:%M} UTC."])


def print_sent(sent: Sent) -> None:
    """Print a row per kind of message that was sent."""
    table = Table()
    _add_texts(table, "messages")
    _add_numbers(table, "sent")
    malformed = {f"malformed: {kind}": count for kind, count in sent.malformed.items()}
    for kind, count in {"valid": sent.valid, "duplicates": sent.duplicates, **malformed}.items():
        _add_row(table, kind, count)
    print_table(table)
    print_lines([f"{sent.messages:,} messages sent."])
