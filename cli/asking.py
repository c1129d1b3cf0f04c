"""What every command does around its flow: check what was given, wait, and end with a message and an exit code.

What does not belong here: the commands (main.py, sample.py).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from millrace.errors import ConfigurationError, MillraceError

if TYPE_CHECKING:
    from pydantic import BaseModel

FAILED, WRONG_REQUEST = 1, 2
Result = TypeVar("Result")
Request = TypeVar("Request", bound="BaseModel")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def valid(kind: type[Request], **given: object) -> Request:
    """The request with what was given; the rest is its own default. What makes no sense ends the command."""
    from pydantic import ValidationError

    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        fail(*(ConfigurationError(str(one["msg"]), place=_place(one["loc"])) for one in error.errors()))


def _place(location: tuple[int | str, ...]) -> str:
    """What is wrong between several options has none."""
    return f"--{_option(location)}" if location else ""


def _option(location: tuple[int | str, ...]) -> str:
    return "".join(map(str, location)).replace("_", "-")


def refuse(options: Mapping[str, object], why: str) -> None:
    """End the command if any of these options is given."""
    given = [f"--{_option((name,))}" for name, value in options.items() if value is not None]
    if given:
        fail(ConfigurationError(f"{', '.join(given)} says nothing here: {why}", remedy="leave it out"))


def absolute(pipeline: str) -> str:
    """A path is meant from where the user stands."""
    path, separator, attribute = pipeline.rpartition(":")
    return f"{Path(path).resolve()}:{attribute}" if separator else pipeline


def awaited(flow_run: Coroutine[Any, Any, Result]) -> Result:
    """The flow's result. Errors made for people end the command with their message; others with a traceback."""

    async def wait() -> Result:
        return await flow_run

    try:
        return asyncio.run(wait())
    except MillraceError as error:
        fail(error)
    except ExceptionGroup as group:
        known, unknown = group.split(MillraceError)
        if unknown is not None:
            raise
        fail(*_leaves(known))


def _leaves(group: BaseException | None) -> Iterator[MillraceError]:
    if isinstance(group, BaseExceptionGroup):
        for inner in group.exceptions:
            yield from _leaves(inner)
    elif isinstance(group, MillraceError):
        yield group


def fail(*errors: MillraceError) -> NoReturn:
    """End the command with these messages and the exit code that they mean."""
    for error in errors:
        typer.secho(f"millrace: {error}", err=True, fg="red" if sys.stderr.isatty() else None)
    raise typer.Exit(WRONG_REQUEST if all(isinstance(error, ConfigurationError) for error in errors) else FAILED)
