"""What every command does around its flow: check what was given, wait, and end with a message and an exit code."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from millrace.base.errors import ConfigurationError, MillraceError
from millrace.base.escaping import escape_unprintable
from millrace.base.redact import redact

if TYPE_CHECKING:
    from pydantic import BaseModel

    from millrace.tasks.report import RunReport

FAILED, WRONG_REQUEST = 1, 2
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
_FAILURE = re.compile(r"Encountered exception during execution|Finished in state (Failed|Crashed)")
_FIELD = re.compile(r"`([a-z_.]+)`")
Result = TypeVar("Result")
Request = TypeVar("Request", bound="BaseModel")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def valid(kind: type[Request], given: Mapping[str, object], options: Mapping[str, str] = NO_OPTIONS) -> Request:
    """The request with what was given; the rest is its own default. What makes no sense ends the command.

    ``options`` are those that are not named after their field, by field (``window.start`` → ``--from``).
    """
    from pydantic import ValidationError

    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        found = error.errors()
        # Of a list with a wrong item pydantic says as well that it is too short.
        items = {one["loc"][:-1] for one in found}
        causes = [one for one in found if one["type"] != "too_short" or one["loc"] not in items]
        fail(*(_wrong(str(one["msg"]), one["loc"], options) for one in causes))


def _wrong(message: str, location: tuple[int | str, ...], options: Mapping[str, str]) -> ConfigurationError:
    """What is wrong between several options has no place of its own; the message names them."""
    field = ".".join(name for name in location if isinstance(name, str))
    place = options.get(field, f"--{_option(field)}") if field else ""
    return ConfigurationError(as_typed(message.removeprefix("Value error, "), options), place=place)


def as_typed(message: str, options: Mapping[str, str]) -> str:
    """The message with the options of the command line in the place of the form's fields."""
    return _FIELD.sub(lambda found: options.get(found[1], found[0]), message)


def _option(field: str) -> str:
    return field.replace("_", "-")


def refuse(options: Mapping[str, object], why: str) -> None:
    """End the command if any of these options is given."""
    given = [f"--{_option(name)}" for name, value in options.items() if value is not None]
    if given:
        fail(ConfigurationError(f"{', '.join(given)} says nothing here: {why}", remedy="leave it out"))


def absolute(pipeline: str) -> str:
    """A path is meant from where the user stands."""
    from millrace.declaration.find import is_path, split_path

    if not is_path(pipeline):
        return pipeline
    path, attribute = split_path(pipeline)
    return f"{Path(path).resolve()}:{attribute}"


def awaited(flow_run: Coroutine[Any, Any, Result], show: Callable[[RunReport], None] | None = None) -> Result:
    """The flow's result. A failure ends the command, with a line for each cause; ``show`` gets the report of a run of
    which some failed."""
    from millrace.blocks.api import check_api, translated
    from millrace.tasks.failures import causes
    from millrace.tasks.report import RunFailed

    async def wait() -> Result:
        with closing(flow_run):
            await check_api()
            return await flow_run

    try:
        with _told_once():
            return asyncio.run(wait())
    except Exception as error:
        if isinstance(error, RunFailed) and show is not None:
            show(error.report)
        if _is_debugged():
            raise
        fail(*causes(translated(cause) for cause in causes([error])))


class _ToldAtTheEnd(logging.Filter):
    """Leaves out that a task or flow failed, which Prefect logs at each level that the error passes. With a traceback
    it stays: then nobody expected the error."""

    def filter(self, record: logging.LogRecord) -> bool:
        return bool(record.exc_info) or _is_debugged() or not _FAILURE.match(record.getMessage())


@contextmanager
def _told_once() -> Iterator[None]:
    """Within it the terminal is not told of failures by the log; the run's own log in Prefect has them all."""
    from prefect.logging.handlers import PrefectConsoleHandler

    consoles = [one for one in logging.getLogger().handlers if isinstance(one, PrefectConsoleHandler)]
    told_at_the_end = _ToldAtTheEnd()
    for console in consoles:
        console.addFilter(told_at_the_end)
    try:
        yield
    finally:
        for console in consoles:
            console.removeFilter(told_at_the_end)


def _is_debugged() -> bool:
    return logging.getLogger("prefect").isEnabledFor(logging.DEBUG)


def tell(message: object) -> None:
    """A line on stderr."""
    typer.secho(f"millrace: {escape_unprintable(redact(message))}", err=True, fg="red" if sys.stderr.isatty() else None)


def fail(*errors: BaseException) -> NoReturn:
    """End the command with a line for each error and the exit code that they mean. Of an error that nobody expected
    only the type is told: its words may hold a secret or a value of a row."""
    for error in errors:
        unexpected = f"an unexpected {type(error).__name__}. Remedy: see with `millrace --debug` where, and report it."
        tell(error if isinstance(error, MillraceError) else unexpected)
    raise typer.Exit(WRONG_REQUEST if all(isinstance(error, ConfigurationError) for error in errors) else FAILED)
