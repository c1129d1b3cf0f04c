"""Resolve the wildcards of a pipeline at the beginning of a run, so that everything after it sees streams alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prefect import get_run_logger

from millrace import Pipeline
from millrace.base.errors import ConfigurationError, MillraceError
from millrace.declaration.source_kinds import SourceReference
from millrace.declaration.values import register_value
from millrace.discovery.resolution import Found, Resolution
from millrace.discovery.resolve import resolve
from millrace.flows.gather import gather_outcomes
from millrace.flows.parameters import requested_pipeline
from millrace.tasks.discovery import find_all_tables
from millrace.tasks.failures import describe_error, status_of
from millrace.tasks.pipelines import find_recorded, load_pipeline, record_found
from millrace.tasks.report import RunReport, StreamReport, make_run_failed
from millrace.warehouse.ledger.recorded_streams import RecordedStream


@dataclass(frozen=True)
class ResolvedPipeline:
    """A pipeline without wildcards, and what a person should know of them."""

    asked: str
    """The name by which a person or a deployment asked for the pipeline."""
    name: str
    """The name by which the tasks of this process find the pipeline."""
    pipeline: Pipeline
    """The pipeline, with a stream for each table."""
    told: tuple[str, ...] = ()
    """Which tables are new, gone, or not replicated."""
    reasons: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Why each stream of a wildcard is read as it is."""
    errors: Mapping[str, MillraceError] = field(default_factory=dict)
    """Why wildcards stand for nothing, by wildcard."""


async def load_requested(name: str) -> Pipeline:
    """Return the pipeline that a run asks for; its wildcards stand for the streams of the last run."""
    requested_pipeline(name)
    return await load_pipeline(name)


async def resolve_requested(name: str, *, is_recorded: bool = True) -> ResolvedPipeline:
    """Return the pipeline that a run asks for, with the tables that its wildcards name now.

    ``is_recorded``: the ledger records them. Raises ConfigurationError when there is no such pipeline, or when a model
    cannot be computed from the streams that were found.
    """
    declared = requested_pipeline(name)
    if not declared.wildcards:
        return ResolvedPipeline(name, name, declared)
    recorded = await find_recorded(name)
    resolution = resolve(declared, await _find_tables(declared, recorded), recorded)
    for line in resolution.told:
        get_run_logger().warning("%s", line)
    pipeline = _with_found(declared, resolution)
    if is_recorded and _in_order(resolution.records) != _in_order(recorded):
        await record_found(name, resolution.records)
    told, reasons, errors = tuple(resolution.told), resolution.reasons, resolution.errors
    return ResolvedPipeline(name, register_value(pipeline), pipeline, told, reasons, errors)


def _with_found(declared: Pipeline, resolution: Resolution) -> Pipeline:
    # A model would only miss its inputs.
    if resolution.errors and (declared.is_transformed or not (resolution.streams or declared.streams)):
        rows = report_wildcards(declared, resolution.errors)
        report = RunReport(declared.path or declared.name, rows, told=tuple(resolution.told))
        raise make_run_failed(report, [*resolution.errors.values()])
    if not resolution.streams and not declared.streams:
        raise ConfigurationError(
            "none of its tables can be replicated", place=f"pipeline {declared.name}", remedy="; ".join(resolution.told)
        )
    return declared.with_found(resolution.streams)


def find_unresolved(resolved: ResolvedPipeline, streams: Sequence[str]) -> Mapping[str, MillraceError]:
    """Return the wildcards that failed, if a run of these streams (all, if none is named) needs them."""
    declared = {stream.name for stream in resolved.pipeline.streams}
    return {} if streams and declared.issuperset(streams) else resolved.errors


def report_wildcards(pipeline: Pipeline, errors: Mapping[str, MillraceError]) -> tuple[StreamReport, ...]:
    """Return a row of the report for each wildcard that stands for nothing."""
    target = f"{pipeline.target_schema}.*"
    return tuple(
        StreamReport(wildcard, target, status=status_of(error), reason=describe_error(error))
        for wildcard, error in errors.items()
    )


def _in_order(records: Sequence[RecordedStream]) -> list[RecordedStream]:
    return sorted(records, key=lambda record: record.stream)


async def _find_tables(pipeline: Pipeline, recorded: Sequence[RecordedStream]) -> dict[str, Found]:
    """Return the tables of each wildcard's catalog, or why they are not known. A catalog is read once."""
    known = [SourceReference.parse(row.source) for row in recorded]
    catalogs = {_catalog_of(wildcard.reference): wildcard for wildcard in pipeline.wildcards}
    unsampled = {
        catalog: sorted({reference.name for reference in known if _catalog_of(reference) == catalog})
        for catalog in catalogs
    }
    outcomes = await gather_outcomes(
        find_all_tables(wildcard.source, unsampled[catalog]) for catalog, wildcard in catalogs.items()
    )
    by_catalog: dict[tuple[str, str], Found] = {}
    for catalog, outcome in zip(catalogs, outcomes, strict=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, MillraceError):
            raise outcome
        by_catalog[catalog] = outcome
    return {str(wildcard): by_catalog[_catalog_of(wildcard.reference)] for wildcard in pipeline.wildcards}


def _catalog_of(reference: SourceReference) -> tuple[str, str]:
    return reference.server, reference.schema
