"""What a run is asked to do: the form that Prefect's UI shows.

What does not belong here: doing it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from prefect.runtime import flow_run
from pydantic import BaseModel, Field, model_validator

from millrace import Pipeline, Stream
from millrace.consent import Consent
from millrace.run import Bounds, Mode

SPANS: dict[Mode, str] = {"incremental": "changes", "full": "all", "sweep": "sweep", "replay": "replay of rejects"}
"""How a run is called."""


class Window(BaseModel):
    """A span of the cursor's time, for backfills. Such a run leaves the position where it is."""

    start: datetime | None = Field(default=None, description="First moment (inclusive); empty: from the beginning.")
    end: datetime | None = Field(default=None, description="Last moment (exclusive); empty: open.")

    @model_validator(mode="after")
    def _ordered(self) -> Window:
        if self.start and self.end and _utc(self.start) >= _utc(self.end):
            raise ValueError("the window ends before it starts")
        return self


class ReplicateRequest(BaseModel):
    """Which streams are replicated, and from where on."""

    pipeline: str = Field(default="stori", description="A pipeline's name, or path/to/module.py:attribute.")
    streams: list[str] = Field(default=[], description="Names of streams; empty: all of the pipeline.")
    mode: Mode = Field(
        default="incremental",
        description="`incremental` goes on where the last run ended (or sweeps, where a sweep is due); `full` reads "
        "everything; `sweep` compares source and target as a whole; `replay` reads rejected rows again.",
    )
    window: Window | None = Field(default=None, description="Only this span of time, instead of the mode.")
    load: bool = Field(
        default=True,
        description="False: only land what was read; the deployment `transform`, which the event `millrace.landed` "
        "starts, loads it. For pipelines with models.",
    )
    accept_rejects: bool = Field(
        default=False, description="Commit what was read also where more rows were rejected than a stream allows."
    )
    dry_run: bool = Field(default=False, description="Show window, queries and schema changes; change nothing.")

    @model_validator(mode="after")
    def _one_way(self) -> ReplicateRequest:
        if self.window is not None and self.mode in {"sweep", "replay"}:
            raise ValueError(f"a {self.mode} has no window")
        return self

    def chosen(self, pipeline: Pipeline) -> list[Stream]:
        """The streams to run. Raises ConfigurationError for a name that the pipeline does not have."""
        return [pipeline.stream(name) for name in self.streams] or list(pipeline.streams)

    @property
    def bounds(self) -> Bounds:
        """What is read of each stream."""
        if self.window is not None:
            return Bounds(start=_text(self.window.start), end=_text(self.window.end), consent=self.consent)
        return Bounds(self.mode, consent=self.consent)

    @property
    def consent(self) -> Consent:
        """What the run is allowed to do."""
        return Consent(accept_rejects=self.accept_rejects)

    def describe(self, until: datetime) -> str:
        """For the run's name: the pipeline and its window."""
        if self.window is not None:
            span = f"{_minute(self.window.start) or 'beginning'} to {_minute(self.window.end) or _minute(until)}"
        else:
            span = f"{SPANS[self.mode]} until {_minute(until)}"
        return f"{self.pipeline}: {span}{' (dry run)' if self.dry_run else ''}"


def run_name() -> str:
    """Name of the current flow run; the scheduled time counts, not the moment it was picked up."""
    request = ReplicateRequest.model_validate(flow_run.parameters.get("request") or {})
    return request.describe(flow_run.scheduled_start_time or datetime.now(UTC))


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else _utc(moment).isoformat()


def _minute(moment: datetime | None) -> str:
    return f"{_utc(moment):%Y-%m-%d %H:%M}" if moment else ""
