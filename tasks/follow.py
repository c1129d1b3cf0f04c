"""Read and load a pipeline again and again in one run, so that changes arrive within seconds.

A cycle does what a run of `replicate` does, in one commit for all streams, without the runs of flows and tasks that a
server would have to record: 8,640 a day at ten seconds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prefect import get_run_logger, task

from millrace import Pipeline
from millrace.base.errors import RetryableError, Superseded
from millrace.change_logs.retention import RetainedLog
from millrace.runs.choose import ReadRequest
from millrace.tasks.alerts import alert_retained_logs
from millrace.tasks.change_log import read_change_log
from millrace.tasks.collect import forward_all_dead_letters
from millrace.tasks.events import emit_loaded
from millrace.tasks.extract import EXTRACT_STREAM, Extracted
from millrace.tasks.failures import describe_error
from millrace.tasks.load import load_batches
from millrace.tasks.pipelines import load_pipeline
from millrace.tasks.policy import TASK_OPTIONS
from millrace.tasks.signals import stop_on_signals
from millrace.tasks.stream_life import find_left_out
from millrace.warehouse.ledger.load_result import LoadResult

LONGEST_PAUSE_SECONDS = 300.0
SUMMARY_SECONDS = 60.0
"""How often the log tells that nothing changed."""
WATCH_SECONDS = 300.0
"""How often Prefect is told that the data is fresh, and people may be told that a source keeps much of its change log:
each costs a request to Prefect."""


@dataclass(frozen=True)
class FollowPace:
    """How often to read, and when to stop."""

    every_seconds: float
    """From the beginning of a cycle to that of the next one."""
    seconds: float | None = None
    """Stop after this time; None: when somebody says so."""
    patience_seconds: float = 900.0
    """Fail after this time without a cycle that succeeded."""


@dataclass
class Followed:
    """What the cycles of a run did."""

    cycles: int = 0
    """Cycles that succeeded."""
    failures: int = 0
    """Cycles that failed; the next one read the same changes again."""
    changes: int = 0
    """Rows that changed targets."""
    rejected: int = 0
    """Rows that were rejected."""
    ages: list[tuple[int, float, float, float]] = field(default_factory=list)
    """Numbers of each load of changes with a known age: how many, median age, age of 95 %, and greatest age."""

    def add(self, results: Sequence[LoadResult]) -> None:
        """Add what a cycle did."""
        self.cycles += 1
        for result in results:
            self.changes += result.inserted + result.updated + result.deleted
            self.rejected += result.rejected
            self.ages += list(_ages_of(result))

    @property
    def greatest_age_seconds(self) -> float | None:
        """The age of the oldest change when it became visible; None: no age is known."""
        return max((greatest for *_, greatest in self.ages), default=None)


class Cycle(NamedTuple):
    """What a cycle did."""

    results: Sequence[LoadResult]
    """What was loaded."""
    logs: Sequence[RetainedLog]
    """What sources keep of their change logs."""
    left_out: Mapping[str, str]
    """Streams that were not read, each with the reason."""


@task(name="follow", task_run_name="follow {pipeline}", **TASK_OPTIONS | {"retries": 0})
async def follow_changes(pipeline: str, streams: Sequence[str], pace: FollowPace) -> Followed:
    """Run cycles until the time is over, or SIGTERM or Ctrl-C ends the run after the cycle that has begun.

    A cycle that fails for a reason that passes by itself is tried again, with growing pauses. Raises the error of the
    last cycle when none succeeded for ``patience_seconds``, or when a person must do something.
    """
    declared, followed = await load_pipeline(pipeline), Followed()
    logger, begun = get_run_logger(), time.monotonic()
    left_out: Mapping[str, str] = {}
    succeeded_at, pause_seconds, told_at, watched_at = begun, pace.every_seconds, begun, begun - WATCH_SECONDS
    with stop_on_signals() as stop:
        while not stop.is_set() and (pace.seconds is None or time.monotonic() - begun < pace.seconds):
            cycle_began = time.monotonic()
            try:
                cycle = await _run_cycle(pipeline, declared, streams)
            except (RetryableError, Superseded) as error:
                followed.failures += 1
                if time.monotonic() - succeeded_at > pace.patience_seconds:
                    raise
                pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
                logger.warning("Tried again in %.0f s: %s", pause_seconds, describe_error(error))
            else:
                followed.add(cycle.results)
                for stream, reason in cycle.left_out.items() - left_out.items():
                    logger.warning("Left out: %s is %s", stream, reason)
                left_out = cycle.left_out
                succeeded_at, pause_seconds = time.monotonic(), pace.every_seconds
                if cycle.results or succeeded_at - told_at > SUMMARY_SECONDS:
                    told_at = succeeded_at
                    logger.info("%s", describe_cycle(cycle.results, succeeded_at - cycle_began))
                if succeeded_at - watched_at > WATCH_SECONDS:
                    watched_at = succeeded_at
                    # Also of cycles with nothing new: without it the automation for silence would call out.
                    emit_loaded(declared.name, {}, {})
                    await alert_retained_logs(declared.name, declared.cli_name, list(dict.fromkeys(cycle.logs)))
            await _wait(stop, cycle_began + pause_seconds)
    return followed


def describe_cycle(results: Sequence[LoadResult], seconds: float) -> str:
    """Return what a cycle did, as one line."""
    parts = [
        f"{result.stream} +{result.inserted:,} ~{result.updated:,} -{result.deleted:,}"
        + (f" rejected {result.rejected:,}" if result.rejected else "")
        + "".join(f" age p95 {late:.1f} s" for _, _, late, _ in _ages_of(result))
        for result in results
    ]
    return f"{'; '.join(parts) or 'nothing new'} ({seconds:.1f} s)"


def _ages_of(result: LoadResult) -> Iterator[tuple[int, float, float, float]]:
    found = result.freshness
    if found and found.p50_seconds is not None and found.p95_seconds is not None and found.max_seconds is not None:
        yield found.stamped, found.p50_seconds, found.p95_seconds, found.max_seconds


async def _run_cycle(name: str, pipeline: Pipeline, streams: Sequence[str]) -> Cycle:
    """Read all streams, and load them in one commit. Raises the first error, before anything is loaded."""
    groups: dict[str, list[str]] = {}
    left_out = await find_left_out.fn(name, streams)
    for stream in (stream for stream in streams if stream not in left_out):
        groups.setdefault(pipeline.stream(stream).change_log or f"stream {stream}", []).append(stream)
    read = await asyncio.gather(
        *(_read_group(name, pipeline, names) for names in groups.values()), return_exceptions=True
    )
    if failures := [outcome for outcome in read if isinstance(outcome, BaseException)]:
        # What a person must do comes before what passes by itself.
        raise min(failures, key=lambda error: isinstance(error, RetryableError | Superseded))
    extracted = [one for outcome in read if not isinstance(outcome, BaseException) for one in outcome]
    manifests = [outcome.manifest for outcome in extracted if outcome.manifest is not None]
    results = await load_batches.fn(name, manifests) if manifests else []
    await forward_all_dead_letters(name, pipeline, [result.stream for result in results])
    return Cycle(results, [outcome.retained for outcome in extracted if outcome.retained is not None], left_out)


async def _read_group(name: str, pipeline: Pipeline, streams: Sequence[str]) -> list[Extracted]:
    first = pipeline.stream(streams[0])
    if first.change_log:
        return await read_change_log.fn(name, streams, ReadRequest())
    return [await EXTRACT_STREAM[first.reference.kind].fn(name, first.name, ReadRequest())]


async def _wait(stop: threading.Event, until: float) -> None:
    """Wait until a time of the monotonic clock, or until the run is told to stop."""
    await asyncio.to_thread(stop.wait, max(until - time.monotonic(), 0.0))
