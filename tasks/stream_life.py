"""Pause, resume and reset streams of a pipeline, and tell which streams a run leaves out."""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from prefect import task
from prefect.runtime import flow_run

from millrace import Pipeline
from millrace.base.errors import ConfigurationError
from millrace.declaration.find import find_pipeline
from millrace.sources.cursor_columns import number_in
from millrace.sources.position import as_utc
from millrace.tasks.connections import open_warehouse
from millrace.tasks.pipelines import load_pipeline
from millrace.tasks.policy import TASK_OPTIONS
from millrace.warehouse import stream_life
from millrace.warehouse.ledger.pauses import Pause
from millrace.warehouse.rename_stream import Renamed, check_rename, rename_stream


@dataclass(frozen=True)
class Resumed:
    """A stream that runs read again."""

    stream: str
    """Name of the stream."""
    was_paused: bool
    """Whether it was paused before."""


@dataclass(frozen=True)
class Position:
    """Where the next window of a stream begins, and where it would have begun."""

    stream: str
    """Name of the stream."""
    former: str | None
    """The former position; None: the beginning."""
    position: str | None
    """The position; None: the beginning."""

    def skips_rows(self) -> bool:
        """Return whether rows that changed between both positions are not read."""
        if self.position is None or self.former is None:
            return self.position is not None
        number, former = number_in(self.position), number_in(self.former)
        if number is None or former is None:
            # A position of another kind is not used: everything is read.
            return number is None and former is None and as_utc(self.position) > as_utc(self.former)
        return number > former


async def pause(pipeline: str, stream: str, reason: str = "") -> Pause:
    """Let no run read a stream until it is resumed. Raises ConfigurationError when there is no such stream."""
    declared = await load_pipeline(pipeline)
    declared_stream, warehouse = declared.stream(stream), await open_warehouse(declared)
    return await asyncio.to_thread(
        stream_life.pause_stream, warehouse, declared, declared_stream, _find_person(), reason
    )


async def resume(pipeline: str, stream: str) -> Resumed:
    """Let runs read a stream again. Raises ConfigurationError when there is no such stream."""
    declared = await load_pipeline(pipeline)
    declared_stream, warehouse = declared.stream(stream), await open_warehouse(declared)
    ended = await asyncio.to_thread(stream_life.resume_stream, warehouse, declared, declared_stream)
    return Resumed(stream, was_paused=ended is not None)


async def compare_position(pipeline: str, stream: str, position: datetime | int | None) -> Position:
    """Return the position of a stream and the one that a reset would set (None: the beginning). Changes nothing."""
    declared = await load_pipeline(pipeline)
    declared_stream = declared.stream(stream)
    stream_life.check_position(declared, declared_stream, position)
    warehouse = await open_warehouse(declared)
    former = await asyncio.to_thread(stream_life.find_position, warehouse, declared, declared_stream)
    text = await asyncio.to_thread(stream_life.write_position, warehouse, declared, declared_stream, position)
    return Position(stream, former, text)


async def reset(pipeline: str, stream: str, position: datetime | int | None) -> Position:
    """Let the next window of a stream begin at ``position`` (None: at the beginning). No row of the target changes."""
    done = await compare_position(pipeline, stream, position)
    declared = await load_pipeline(pipeline)
    declared_stream, warehouse = declared.stream(stream), await open_warehouse(declared)
    holder = f"reset by {_find_person()}"
    await asyncio.to_thread(stream_life.reset_position, warehouse, declared, declared_stream, position, holder)
    return done


async def compare_rename(pipeline: str, old: str, new: str) -> Renamed:
    """Return what a rename would do. Changes nothing. Raises ConfigurationError."""
    declared = await load_pipeline(pipeline)
    declared_stream, warehouse = declared.stream(new), await open_warehouse(declared)
    return await asyncio.to_thread(check_rename, warehouse, declared, old, declared_stream)


async def rename(pipeline: str, old: str, new: str) -> Renamed:
    """Let a stream go by its declared name ``new``. Raises ConfigurationError, StreamBusy."""
    declared = await load_pipeline(pipeline)
    declared_stream, warehouse = declared.stream(new), await open_warehouse(declared)
    holder = f"rename by {_find_person()}"
    return await asyncio.to_thread(rename_stream, warehouse, declared, old, declared_stream, holder)


@task(name="find-paused", task_run_name="find what of {pipeline} is paused", **TASK_OPTIONS)
async def find_left_out(pipeline: str, streams: Sequence[str]) -> dict[str, str]:
    """Return the streams, of those named, that a run leaves out, each with the reason.

    A stream is left out if it is paused, or if a model takes its changes together with a snapshot that is paused.
    """
    declared = await load_pipeline(pipeline)
    warehouse = await open_warehouse(declared)
    paused = await asyncio.to_thread(warehouse.find_pauses, declared)
    return {name: reason for name, reason in _explain(declared, paused).items() if name in streams}


async def refuse_paused(pipeline: str, streams: Sequence[str]) -> None:
    """Raise ConfigurationError when one of these streams is paused: what is computed from them needs all."""
    left_out = await find_left_out(pipeline, streams)
    for stream, reason in left_out.items():
        raise ConfigurationError(
            f"it is {reason.partition(': ')[0]}, and what is asked for needs it",
            place=f"stream {find_pipeline(pipeline).name}.{stream}",
            remedy=f"resume it first: millrace resume {find_pipeline(pipeline).cli_name} {stream}",
        )


def _explain(pipeline: Pipeline, paused: dict[str, Pause]) -> dict[str, str]:
    reasons = {
        stream: f"model {model} also needs {snapshot}, which is {paused[snapshot].note}"
        for stream, (model, snapshot) in pipeline.roots.held_up_by(paused).items()
    }
    resume_command = f"millrace resume {pipeline.cli_name}"
    return reasons | {name: f"{pause.note}: {resume_command} {name}" for name, pause in paused.items()}


def _find_person() -> str:
    """Return who types the command, or the flow run that does it."""
    if flow_run.id:
        return f"flow run {flow_run.id}"
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        # A container may run as a user without a name.
        return f"somebody@{socket.gethostname()}"
