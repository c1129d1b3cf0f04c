"""Parameters of the flow `replicate`: what a run is asked to do, as Prefect's UI shows it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from prefect.runtime import flow_run
from pydantic import BeforeValidator, Field, model_validator

from millrace import Pipeline, Stream
from millrace.base.errors import ConfigurationError
from millrace.declaration.consent import NO_CONSENT, Consent
from millrace.flows.parameters import FlowParameters, pipeline_field
from millrace.runs.choose import Mode, ReadRequest

SPANS: dict[Mode, str] = {
    "incremental": "changes",
    "full": "all",
    "sweep": "sweep",
    "replay": "replay of rejects",
    "reload": "reload",
}
"""How the name of a run says what it reads."""


def _refuse_number(value: object) -> object:
    """Refuse a number: it would be read as seconds since 1970, and 20260101 is a day in that year."""
    if isinstance(value, int | float) or (isinstance(value, str) and value.strip().lstrip("+-").isdigit()):
        raise ValueError("write a moment as 2026-01-31T12:00:00Z")
    return value


Moment = Annotated[datetime, BeforeValidator(_refuse_number)]


class RequestedWindow(FlowParameters):
    """A span of the cursor column's time, for backfills. Such a run does not change the position."""

    start: Moment | None = Field(default=None, description="First moment (inclusive); empty: from the beginning.")
    end: Moment | None = Field(default=None, description="Last moment (exclusive); empty: open.")

    @model_validator(mode="after")
    def _check_order(self) -> RequestedWindow:
        start, end = (moment and _utc(moment) for moment in (self.start, self.end))
        if not (start or end):
            raise ValueError("it has neither `window.start` nor `window.end`")
        if start and end and start >= end:
            raise ValueError("`window.end` is not after `window.start`: the window ends before it starts")
        if start and start > datetime.now(UTC):
            raise ValueError("`window.start` is in the future: nothing has changed since then")
        return self


class ReplicateRequest(FlowParameters):
    """Which streams to replicate, and which of their rows."""

    pipeline: str = pipeline_field("stori")
    streams: list[str] = Field(default=[], description="Names of streams; empty: all of the pipeline.")
    mode: Mode = Field(
        default="incremental",
        description="`incremental` starts where the last run ended (or sweeps, if a sweep is due); `full` reads "
        "everything; `sweep` compares all of source and target; `replay` reads rejected rows again; `reload` reads "
        "everything into a new table, which takes the place of the target (of the `streams` that are named).",
    )
    deep: bool = Field(
        default=False,
        description="For a sweep: also read and compare the values in the warehouse, not only the stored hashes.",
    )
    window: RequestedWindow | None = Field(default=None, description="Only this span of time, instead of the mode.")
    load: bool = Field(
        default=True,
        description="False: only write batches to the landing zone; the deployment `transform`, which the event "
        "`millrace.landed` starts, loads them. For pipelines with models.",
    )
    load_now: bool = Field(
        default=False,
        description="Of a pipeline with `load_every`: load at once, with what waits in the lake.",
    )
    accept_rejects: bool = Field(
        default=False, description="Commit even if more rows were rejected than a stream allows."
    )
    allow_deletes: bool = Field(
        default=False, description="Commit even if more rows would be deleted than a stream or model allows."
    )
    accept_source: bool = Field(
        default=False,
        description="If the declared source of a stream changed: read the new one, and compare all of it with the "
        "target.",
    )
    dry_run: bool = Field(default=False, description="Show window, queries and schema changes; change nothing.")

    @model_validator(mode="after")
    def _one_way(self) -> ReplicateRequest:
        if self.window is not None and self.mode != "incremental":
            raise ValueError(f"a {self.mode} has no window: leave out `window` or `mode`")
        if self.deep and self.mode != "sweep":
            raise ValueError("only a sweep can be deep: leave out `deep`, or choose the mode `sweep`")
        if self.mode == "reload" and not self.streams:
            raise ValueError("a reload makes new tables: name the `streams`")
        return self

    def choose_streams(self, pipeline: Pipeline) -> list[Stream]:
        """Return the streams to run. Raises ConfigurationError for what this pipeline does not have or cannot do."""
        if not self.load and not pipeline.is_transformed:
            raise ConfigurationError(
                "each of its streams is loaded when it was read",
                place=f"pipeline {pipeline.name}",
                remedy="leave out `load`",
            )
        chosen = pipeline.choose_streams(self.streams)
        for stream in chosen:
            if self.window is not None and stream.is_snapshot:
                raise ConfigurationError(
                    "every run reads all of it, so it has no window",
                    place=f"stream {pipeline.name}.{stream.name}",
                    remedy="leave out `window`, or choose other `streams`",
                )
        return chosen

    @property
    def is_regular(self) -> bool:
        """Whether the next scheduled run reads the same. No other run repeats a run that is not regular."""
        return self.mode == "incremental" and self.window is None and self.consent == NO_CONSENT

    @property
    def read_request(self) -> ReadRequest:
        """What to read of each stream."""
        if self.window is not None:
            return ReadRequest(start=_text(self.window.start), end=_text(self.window.end), consent=self.consent)
        return ReadRequest(self.mode, deep=self.deep, consent=self.consent, may_wait=self.is_regular)

    @property
    def consent(self) -> Consent:
        """What the run is allowed to do."""
        return Consent(self.accept_rejects, self.allow_deletes, self.accept_source)

    def describe(self, until: datetime) -> str:
        """Return the name of the run: the pipeline and what is read."""
        if self.window is not None:
            span = f"{_minute(self.window.start) or 'beginning'} to {_minute(self.window.end) or _minute(until)}"
        else:
            span = f"{'deep ' if self.deep else ''}{SPANS[self.mode]} until {_minute(until)}"
        return f"{self.pipeline}: {span}{' (dry run)' if self.dry_run else ''}"


def run_name() -> str:
    """Return the name of the current flow run, with the time for which it was scheduled."""
    request = ReplicateRequest.model_validate(flow_run.parameters.get("request") or {})
    return request.describe(flow_run.scheduled_start_time or datetime.now(UTC))


def _utc(moment: datetime) -> datetime:
    """Return a moment in UTC; one without a time zone is taken for UTC."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{moment} is out of range in UTC") from None


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else _utc(moment).isoformat()


def _minute(moment: datetime | None) -> str:
    return f"{_utc(moment):%Y-%m-%d %H:%M}" if moment else ""
