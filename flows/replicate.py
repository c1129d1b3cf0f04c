"""The parent flow `replicate`: extract from every source at once, load, report.

A stream that fails stops no other: what was read is loaded, and the run fails at the end with every reason. A pipeline
with models is loaded as a whole, or not at all.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from prefect import get_run_logger

from millrace import Model, Pipeline, Stream
from millrace.base.disk import remove_abandoned
from millrace.base.errors import MillraceError
from millrace.flows.alerts import alert_cancellation, alert_failure
from millrace.flows.extract import extract_streams
from millrace.flows.gather import gather_outcomes
from millrace.flows.pipeline_flow import PipelineFlow
from millrace.flows.request import ReplicateRequest, run_name
from millrace.flows.resolve import ResolvedPipeline, find_unresolved, report_wildcards, resolve_requested
from millrace.flows.transform import TransformRequest, conclude, transform
from millrace.flows.turn import cancel_waiting_runs
from millrace.runs.choose import ReadRequest
from millrace.tasks.alerts import alert_retained_logs
from millrace.tasks.collect import forward_all_dead_letters
from millrace.tasks.events import emit_landed
from millrace.tasks.extract import Extracted, find_retained_logs
from millrace.tasks.failures import describe_error, status_of
from millrace.tasks.lease import give_back
from millrace.tasks.load import load_batches, load_gathered
from millrace.tasks.pipelines import load_pipeline
from millrace.tasks.plan import (
    add_reasons,
    make_paused_plan,
    make_refused_plan,
    make_unresolved_plan,
    plan_model,
    plan_stream,
    publish_plans,
)
from millrace.tasks.report import (
    RunReport,
    Status,
    StreamReport,
    add_note,
    add_retained_log,
    make_empty_report,
    make_failed_report,
    make_paused_report,
    make_report,
    make_run_failed,
    publish_report,
)
from millrace.tasks.stream_life import find_left_out, refuse_paused
from millrace.warehouse.ledger.load_result import add_results

DEFAULT_REQUEST = ReplicateRequest()


@partial(
    PipelineFlow,
    name="replicate",
    flow_run_name=run_name,
    persist_result=False,
    on_failure=[alert_failure],
    on_cancellation=[alert_cancellation],
    on_running=[cancel_waiting_runs],
)
async def replicate(request: ReplicateRequest = DEFAULT_REQUEST) -> RunReport:
    """Bring what changed in a pipeline's sources into the warehouse.

    Raises RunFailed, an ExceptionGroup with every cause, after the other streams were loaded and all were reported.
    Of a pipeline whose tables are committed together nothing is loaded then.
    """
    resolved = await resolve_requested(request.pipeline, is_recorded=not request.dry_run)
    pipeline = resolved.pipeline
    request = request.model_copy(update={"pipeline": resolved.name})
    unresolved = find_unresolved(resolved, request.streams)
    streams = request.choose_streams(pipeline)
    for folder in await asyncio.to_thread(remove_abandoned):
        get_run_logger().info("Removed %s, which a killed run left behind", folder)
    if request.dry_run:
        return await _plan(request, resolved, streams, unresolved)
    read, left_out = await _read(request, streams)
    load = _load_together if pipeline.is_transformed else _load_each
    rows, failures = await load(request, pipeline, read)
    failures = [*failures, *unresolved.values()]
    if not pipeline.is_transformed:
        await conclude(pipeline, rows, is_complete=not failures)
    rows = [add_note(row, request.consent.note) for row in rows]
    logs = find_retained_logs(read)
    rows = [add_retained_log(row, pipeline, logs.get(row.stream)) for row in rows]
    rows += [make_paused_report(pipeline, stream, reason) for stream, reason in left_out.items()]
    rows += report_wildcards(pipeline, unresolved)
    report = RunReport(resolved.asked, tuple(rows), told=resolved.told)
    await publish_report(pipeline.name, rows, resolved.told)
    await alert_retained_logs(pipeline.name, pipeline.cli_name, list(dict.fromkeys(logs.values())))
    # A stream that another run holds waits for the next run, if that will read the same.
    skipped = [failure for failure in failures if request.is_regular and status_of(failure) == "busy"]
    for failure in skipped:
        get_run_logger().warning("Skipped: %s", describe_error(failure))
    if len(skipped) < len(failures):
        raise make_run_failed(report, [failure for failure in failures if failure not in skipped])
    return report


async def _read(
    request: ReplicateRequest, streams: Sequence[Stream]
) -> tuple[dict[str, Extracted | Exception], dict[str, str]]:
    """Return what was read of each stream, and the streams that are left out, each with the reason.

    If the warehouse does not tell which streams are paused, none is read.
    """
    names = [stream.name for stream in streams]
    try:
        left_out = await find_left_out(request.pipeline, names)
    except MillraceError as error:
        return dict.fromkeys(names, error), {}
    for name, reason in left_out.items():
        get_run_logger().warning("Left out: %s is %s", name, reason)
    chosen = [stream for stream in streams if stream.name not in left_out]
    beside = await _find_snapshots_beside(request, chosen) if request.mode == "reload" else []
    read = await extract_streams(request.pipeline, chosen, request.read_request)
    if beside:
        read |= await extract_streams(request.pipeline, beside, ReadRequest(consent=request.consent))
    return read, left_out


async def _find_snapshots_beside(request: ReplicateRequest, reloaded: Sequence[Stream]) -> list[Stream]:
    """Return the snapshots that models of reloaded streams need besides them, and that are read as any run does.

    Raises ConfigurationError when one of them is paused.
    """
    pipeline, names = await load_pipeline(request.pipeline), {stream.name for stream in reloaded}
    roots = pipeline.roots
    needed = {name for model in pipeline.models if names & roots.of(model) for name in roots.of(model)}
    beside = [stream for stream in pipeline.streams if stream.is_snapshot and stream.name in needed - names]
    await refuse_paused(request.pipeline, [stream.name for stream in beside])
    return beside


async def _plan(
    request: ReplicateRequest,
    resolved: ResolvedPipeline,
    streams: Sequence[Stream],
    unresolved: Mapping[str, MillraceError],
) -> RunReport:
    """Plan what would be read and loaded; models are planned only if all streams are."""
    pipeline = resolved.pipeline
    models = [] if request.streams else pipeline.models
    left_out = await find_left_out(request.pipeline, [stream.name for stream in streams])
    streams = [stream for stream in streams if stream.name not in left_out]
    members: list[Stream | Model] = [*streams, *models]
    ended = await gather_outcomes(
        [
            *(plan_stream(request.pipeline, stream.name, request.read_request) for stream in streams),
            *(plan_model(request.pipeline, model.name) for model in models),
        ]
    )
    plans = [
        make_refused_plan(pipeline, member, outcome) if isinstance(outcome, Exception) else outcome
        for member, outcome in zip(members, ended, strict=True)
    ]
    plans = [add_reasons(plan, resolved.reasons.get(plan.stream, ())) for plan in plans]
    plans += [make_paused_plan(pipeline, pipeline.stream(name), reason) for name, reason in left_out.items()]
    plans += [make_unresolved_plan(pipeline, wildcard, error) for wildcard, error in unresolved.items()]
    await publish_plans(pipeline.name, plans)
    report = RunReport(resolved.asked, plans=tuple(plans), told=resolved.told)
    if failures := [*(outcome for outcome in ended if isinstance(outcome, Exception)), *unresolved.values()]:
        raise make_run_failed(report, failures)
    return report


async def _load_each(
    request: ReplicateRequest, pipeline: Pipeline, read: Mapping[str, Extracted | Exception]
) -> tuple[list[StreamReport], list[Exception]]:
    """Load every stream in a commit of its own, and those of a change log together: a row of each, and what failed."""
    groups = list(_group_by_commit(pipeline, read).values())
    ended = await gather_outcomes(_load(request, pipeline, [read[name] for name in names]) for names in groups)
    failures = [outcome for outcome in ended if isinstance(outcome, Exception)]
    notes, failed_loads = await _load_due_of_unread(request, pipeline, read)
    failures += failed_loads
    by_stream: dict[str, StreamReport] = {}
    for names, outcome in zip(groups, ended, strict=True):
        by_stream |= zip(
            names,
            [make_failed_report(pipeline, name, outcome) for name in names]
            if isinstance(outcome, Exception)
            else outcome,
            strict=True,
        )
    rows = [add_note(by_stream[name], notes.get(name, "")) for name in read]
    return rows, failures


def _group_by_commit(pipeline: Pipeline, streams: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of streams that are loaded in one commit: those of a change log, or one alone."""
    groups: dict[str, list[str]] = {}
    for name in streams:
        groups.setdefault(pipeline.stream(name).change_log or f"stream {name}", []).append(name)
    return groups


async def _load(
    request: ReplicateRequest, pipeline: Pipeline, read: Sequence[Extracted | Exception]
) -> list[StreamReport]:
    """Load in one commit what was read; a stream with nothing to load is reported too."""
    for outcome in read:
        if isinstance(outcome, Exception):
            raise outcome
    name, extracted = request.pipeline, [outcome for outcome in read if not isinstance(outcome, Exception)]
    if len(extracted) == 1 and extracted[0].loads_at is not None:
        return [await _load_what_waits(request, pipeline, extracted[0], extracted[0].loads_at)]
    manifests = [outcome.manifest for outcome in extracted if outcome.manifest is not None]
    loaded = ", ".join(outcome.stream for outcome in extracted if outcome.manifest is not None)
    results = await load_batches.with_options(task_run_name=f"load {loaded}")(name, manifests) if manifests else []
    by_stream = {result.stream: result for result in results}
    await forward_all_dead_letters(name, pipeline, by_stream)
    return [
        make_report(pipeline, by_stream[outcome.stream], outcome.seconds + by_stream[outcome.stream].seconds)
        if outcome.stream in by_stream
        else _report_nothing(pipeline, outcome)
        for outcome in extracted
    ]


async def _load_together(
    request: ReplicateRequest, pipeline: Pipeline, read: Mapping[str, Extracted | Exception]
) -> tuple[list[StreamReport], list[Exception]]:
    """All of the run in one commit, by this run or by the one that the event starts."""
    failures = [outcome for outcome in read.values() if isinstance(outcome, Exception)]
    extracted = [outcome for outcome in read.values() if not isinstance(outcome, Exception)]
    manifests = [outcome.manifest for outcome in extracted if outcome.manifest is not None]
    if failures:
        await give_back(pipeline, manifests)
        return [_report_held_up(pipeline, stream, outcome, read) for stream, outcome in read.items()], failures
    # Another process does not find a pipeline by the name that it has in this one.
    emit_landed(pipeline.name, pipeline.path or request.pipeline, manifests, "by-run" if request.load else "by-event")
    if not request.load:
        return [_report_landed(pipeline, outcome) for outcome in extracted], []
    try:
        report = await transform(TransformRequest(pipeline=request.pipeline, manifests=manifests))
    except Exception as error:
        return [make_failed_report(pipeline, stream, error) for stream in read], [error]
    seconds = {outcome.stream: outcome.seconds for outcome in extracted}
    timed = [replace(row, seconds=round(seconds.get(row.stream, 0), 2)) for row in report.streams]
    return [*timed, *(_report_nothing(pipeline, outcome) for outcome in extracted if outcome.manifest is None)], []


async def _load_what_waits(
    request: ReplicateRequest, pipeline: Pipeline, extracted: Extracted, loads_at: datetime
) -> StreamReport:
    """Load the batches of a stream that wait in the lake, if it is time or a person asks for it."""
    row = _report_nothing(pipeline, extracted)
    if not request.load_now and datetime.now(UTC) < loads_at:
        note = f"landed, loads at {loads_at:%H:%M} UTC"
        return replace(row, status="landed", kind=extracted.kind, read=extracted.read, note=note)
    results = await load_gathered(request.pipeline, extracted.stream)
    await forward_all_dead_letters(request.pipeline, pipeline, [extracted.stream])
    return make_report(pipeline, add_results(results), extracted.seconds + results[-1].seconds) if results else row


async def _load_due_of_unread(
    request: ReplicateRequest, pipeline: Pipeline, read: Mapping[str, Extracted | Exception]
) -> tuple[dict[str, str], list[Exception]]:
    """Load what waits of streams that could not be read, where it is time: it needs no source.

    Return a note of each stream of which something was loaded, and what failed. A stream that another run holds is left
    to that run.
    """
    if pipeline.load_every is None:
        return {}, []
    unread = [name for name, outcome in read.items() if isinstance(outcome, Exception) and status_of(outcome) != "busy"]
    ended = await gather_outcomes(
        load_gathered(request.pipeline, name, only_due=not request.load_now) for name in unread
    )
    notes = {
        name: f"loaded what waited in the lake: {sum(result.loaded for result in outcome):,} changed rows"
        for name, outcome in zip(unread, ended, strict=True)
        if not isinstance(outcome, Exception) and outcome
    }
    return notes, [outcome for outcome in ended if isinstance(outcome, Exception)]


def _report_held_up(
    pipeline: Pipeline, stream: str, outcome: Extracted | Exception, read: Mapping[str, Extracted | Exception]
) -> StreamReport:
    """Return the row of a stream that loads nothing, because it or another one could not be read."""
    if isinstance(outcome, Exception):
        return make_failed_report(pipeline, stream, outcome)
    unread = {name: outcome for name, outcome in read.items() if isinstance(outcome, Exception)}
    status: Status = "busy" if all(status_of(outcome) == "busy" for outcome in unread.values()) else "failed"
    reason = f"read, but not loaded: the tables are committed together, and {', '.join(unread)} could not be read"
    return replace(
        _report_nothing(pipeline, outcome), status=status, reason=reason, kind=outcome.kind, read=outcome.read
    )


def _report_landed(pipeline: Pipeline, extracted: Extracted) -> StreamReport:
    row = _report_nothing(pipeline, extracted)
    if extracted.manifest is None:
        return row
    return replace(row, status="landed", kind=extracted.kind, read=extracted.read, note="landed")


def _report_nothing(pipeline: Pipeline, extracted: Extracted) -> StreamReport:
    return replace(make_empty_report(pipeline, extracted.stream), seconds=round(extracted.seconds, 2))
