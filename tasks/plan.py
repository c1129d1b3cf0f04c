"""The plan of one stream or model: what is read, schema changes and the SQL of the load. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from prefect import get_run_logger, task
from prefect.artifacts import acreate_markdown_artifact

from millrace import Model, Pipeline, Stream
from millrace.base.escaping import escape_markdown, escape_unprintable, markdown_code_block
from millrace.base.types import Column
from millrace.declaration.lines import find_line
from millrace.runs.changes import refuse_window, streams_of_log
from millrace.runs.choose import ReadRequest, choose
from millrace.runs.context import StreamContext
from millrace.runs.foreseen_deletes import foresee_deletes
from millrace.runs.reload_stream import without_target
from millrace.runs.sample import Sample, take_sample
from millrace.runs.unseen_changes import describe_unseen_changes
from millrace.tasks.connections import open_landing, open_log, open_source, open_warehouse
from millrace.tasks.failures import describe_error
from millrace.tasks.pipelines import load_pipeline
from millrace.tasks.policy import TASK_OPTIONS, artifact_key

UNSAMPLED = {"log", "replay"}
"""Kinds of batches whose rows are not those of a window."""


@dataclass(frozen=True)
class StreamPlan:
    """What a run would do to one stream or model."""

    stream: str
    """Name of the stream or model."""
    source: str
    """The source of a stream, the inputs of a model."""
    target: str
    """``schema.table`` of its target."""
    reads: str
    """The kind of batch that a run would make."""
    lower: str | None
    """Where its window begins; None: it is open."""
    upper: str | None
    """Where its window ends; None: it is open."""
    query: str
    """What the source is asked; '' for a model."""
    changes: tuple[str, ...]
    """What the target lacks."""
    statements: tuple[str, ...]
    """What a load would run."""
    reason: str = ""
    """Why there is no plan: the run would be refused, or the stream is paused; '' if there is one."""
    is_paused: bool = False
    """Whether runs leave the stream out."""
    note: str = ""
    """What a person should know before the run."""
    sample: Sample | None = None
    """What a run would reject of the first rows; None: no row was read."""
    declared_at: str = ""
    """``file, line n`` of the declaration that would be refused, in a file of one's own; '' otherwise."""

    @property
    def span(self) -> str:
        """The window that is read, for people; '' for a model."""
        return f"{self.reads} from {self.lower or 'the beginning'} to {self.upper or 'now'}" if self.query else ""

    @property
    def load(self) -> str:
        """The statements as one script."""
        return ";\n".join(self.statements) + ";" if self.statements else ""

    @property
    def refusal(self) -> str:
        """Why there is no plan, for people; '' if there is one."""
        declared_at = f" (declared at {self.declared_at})" if self.declared_at else ""
        return self.reason if self.is_paused or not self.reason else f"refused: {self.reason}{declared_at}"


def make_paused_plan(pipeline: Pipeline, stream: Stream, reason: str) -> StreamPlan:
    """Return the plan of a stream that runs leave out."""
    target = f"{pipeline.target_schema}.{stream.table}"
    return StreamPlan(stream.name, stream.source, target, "", None, None, "", (), (), reason, is_paused=True)


def make_refused_plan(pipeline: Pipeline, member: Stream | Model, error: Exception) -> StreamPlan:
    """Return the plan of a stream or model with a run that would be refused, or a plan that could not be made."""
    source, schema, table = (
        (member.source, pipeline.target_schema, member.table)
        if isinstance(member, Stream)
        else (", ".join(member.inputs), pipeline.target_model_schema, member.name)
    )
    return StreamPlan(
        member.name,
        source,
        f"{schema}.{table}",
        "",
        None,
        None,
        "",
        (),
        (),
        describe_error(error),
        declared_at=find_line(pipeline.path, member.name),
    )


def make_unresolved_plan(pipeline: Pipeline, wildcard: str, error: Exception) -> StreamPlan:
    """Return the plan of a wildcard that stands for nothing."""
    target = f"{pipeline.target_schema}.*"
    return StreamPlan(wildcard, "every table", target, "", None, None, "", (), (), describe_error(error))


def add_reasons(plan: StreamPlan, reasons: Sequence[str]) -> StreamPlan:
    """Return the plan with the reasons why a stream of a wildcard is read as it is."""
    return replace(plan, note="; ".join(filter(None, [*reasons, plan.note])))


@task(name="plan", task_run_name="plan {stream}", **TASK_OPTIONS)
async def plan_stream(pipeline: str, stream: str, read_request: ReadRequest) -> StreamPlan:
    """Return what a run of this stream would do now."""
    declared = await load_pipeline(pipeline)
    warehouse = await open_warehouse(declared)
    declared_stream = declared.stream(stream)
    landing = await open_landing(declared, warehouse)
    async with open_source(declared, declared_stream, warehouse) as source:
        context = StreamContext(source, landing, warehouse, declared, declared_stream, read_request.consent)
        if declared_stream.capture.reads_log:
            await _check_log(context, read_request)
        read_plan = await choose(context, read_request)
        if read_plan.replaces_target:
            context = await without_target(context)
        query, columns = await source.plan(declared_stream, await context.find_target_columns(), read_plan.window)
        sample, sampled_columns = None, tuple[Column, ...]()
        if read_plan.kind not in UNSAMPLED:
            sample, sampled_columns = await take_sample(context, read_plan.window)
        refusal = await foresee_deletes(context, read_plan, sample)
    target = f"{declared.target_schema}.{declared_stream.table}"
    changes, statements = [f"replace table {target} by a new one"], list[str]()
    if not read_plan.replaces_target:
        # Only documents tell their columns: those of the first rows show what the table becomes.
        changes, statements = await asyncio.to_thread(
            warehouse.plan, declared, declared_stream, columns or sampled_columns, are_all=bool(columns)
        )
    lower, upper = read_plan.window.lower, read_plan.window.upper
    return StreamPlan(
        stream,
        declared_stream.source,
        target,
        read_plan.kind,
        lower,
        upper,
        query,
        tuple(changes),
        tuple(statements),
        note="; ".join(filter(None, [describe_unseen_changes(declared_stream, columns), refusal])),
        sample=sample,
    )


async def _check_log(context: StreamContext, read_request: ReadRequest) -> None:
    """Raise what a run would raise because server, role, publication or table is not set up for the change log."""
    refuse_window([context], read_request)
    log = open_log(context.pipeline, context.stream.reference, context.source, (await context.find_state()).ledger)
    await asyncio.to_thread(log.check, streams_of_log(context.pipeline, context.stream))


@task(name="plan-model", task_run_name="plan {model}", **TASK_OPTIONS)
async def plan_model(pipeline: str, model: str) -> StreamPlan:
    """Return what a run would do to the table of this model; its rows come from the other tables of the run."""
    declared = await load_pipeline(pipeline)
    warehouse = await open_warehouse(declared)
    declared_model = next(candidate for candidate in declared.models if candidate.name == model)
    columns = declared_model.columns
    changes, statements = await asyncio.to_thread(warehouse.plan, declared, declared_model, columns)
    target, inputs = f"{declared.target_model_schema}.{model}", ", ".join(declared_model.inputs)
    return StreamPlan(model, inputs, target, "model", None, None, "", tuple(changes), tuple(statements))


@task(name="publish-plans", **TASK_OPTIONS)
async def publish_plans(pipeline: str, plans: Sequence[StreamPlan]) -> None:
    """Write a Markdown artifact `plan-<pipeline>-<stream>` for each, and the same into the log."""
    logger = get_run_logger()
    for plan in plans:
        logger.info("%s", "\n".join(_lines(plan)))
        await acreate_markdown_artifact(
            key=artifact_key("plan", pipeline, plan.stream),
            markdown="\n\n".join(_paragraphs(plan)),
            description=f"What a run of `{pipeline}` would do to `{plan.stream}`. Nothing was changed.",
        )


def _lines(plan: StreamPlan) -> Iterator[str]:
    yield escape_unprintable(f"{plan.stream}: {plan.source} → {plan.target}")
    if plan.reason:
        yield escape_unprintable(plan.refusal)
        return
    yield plan.span
    yield from filter(None, [plan.note])
    if plan.sample:
        yield escape_unprintable(f"sample: {plan.sample}")
    yield escape_unprintable(f"schema changes: {'; '.join(plan.changes) or 'none'}")
    yield from (escape_unprintable(text, keep="\n\t") for text in (plan.query, plan.load) if text)


def _paragraphs(plan: StreamPlan) -> Iterator[str]:
    yield f"## {escape_markdown(plan.stream)}: {escape_markdown(plan.source)} → {escape_markdown(plan.target)}"
    if plan.is_paused:
        yield f"**Left out.** {escape_markdown(plan.reason)}"
        return
    if plan.reason:
        yield f"**Refused.** {escape_markdown(plan.refusal.removeprefix('refused: '))}"
        return
    if plan.note:
        yield f"**Note** {escape_markdown(plan.note)}"
    if plan.query:
        yield f"**Reads** {escape_markdown(plan.span)}"
        yield markdown_code_block(plan.query, "sql")
    if plan.sample:
        yield f"**Sample** {escape_markdown(str(plan.sample))}"
    yield "**Schema changes** " + ("; ".join(map(escape_markdown, plan.changes)) or "none")
    if plan.statements:
        yield "**Load**"
        yield markdown_code_block(plan.load, "sql")
