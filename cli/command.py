"""What every command does around its flow: check its options, wait, and end with a message and an exit code."""

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
from typing_extensions import override

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

MOMENT_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S%z"]
"""How an option writes a moment; one without a time zone is in UTC."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
PipelineName = Annotated[str, typer.Argument(help="A pipeline's name, or path/to/module.py:attribute.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what the command would do.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

SECONDS_OF_UNITS = {"s": 1, "m": 60, "h": 3_600}


def build_request(kind: type[Request], given: Mapping[str, object], options: Mapping[str, str] = NO_OPTIONS) -> Request:
    """Return a request with the values that were given; invalid ones end the command.

    ``options`` maps fields to the options that are not named after them (``window.start`` → ``--from``).
    """
    from pydantic import ValidationError

    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        found = error.errors()
        # If an item of a list is wrong, pydantic also reports that the list is too short.
        items = {detail["loc"][:-1] for detail in found}
        causes = [detail for detail in found if detail["type"] != "too_short" or detail["loc"] not in items]
        fail(*(_wrong(str(detail["msg"]), detail["loc"], options) for detail in causes))


def _wrong(message: str, location: tuple[int | str, ...], options: Mapping[str, str]) -> ConfigurationError:
    """Return the error for one option; an error of several options has no place, its message names them."""
    field = ".".join(name for name in location if isinstance(name, str))
    place = options.get(field, f"--{_option(field)}") if field else ""
    return ConfigurationError(name_options(message.removeprefix("Value error, "), options), place=place)


def name_options(message: str, options: Mapping[str, str]) -> str:
    """Replace the names of fields in a message by the options of the command line."""
    return _FIELD.sub(lambda found: options.get(found[1], found[0]), message)


def _option(field: str) -> str:
    return field.replace("_", "-")


def refuse_options(options: Mapping[str, object], why: str) -> None:
    """End the command if any of these options is given."""
    given = [f"--{_option(name)}" for name, value in options.items() if value is not None]
    if given:
        fail(ConfigurationError(f"{', '.join(given)} has no effect here: {why}", remedy="leave it out"))


def parse_seconds(text: str) -> float:
    """Return a time span that was given as ``10s``, ``1.5m`` or ``1h`` in seconds; another text ends the command."""
    found = re.fullmatch(r"(?P<number>\d+(\.\d+)?)(?P<unit>[smh])", text)
    if found is None:
        fail(ConfigurationError(f"{text!r} is no time span", place="--every", remedy="write 10s, 2m or 1h"))
    return float(found["number"]) * SECONDS_OF_UNITS[found["unit"]]


def confirm(question: str, *, is_agreed: bool) -> None:
    """Ask a person before something is lost, unless they agreed already. End the command if they do not agree.

    Without a terminal nobody can be asked.
    """
    if is_agreed:
        return
    if not sys.stdin.isatty():
        fail(ConfigurationError(question, remedy="add --yes if that is what you want; nothing was changed"))
    if not typer.confirm(f"{question}. Go on?", err=True):
        print_message("nothing was changed")
        raise typer.Exit(FAILED)


def absolute_path(pipeline: str) -> str:
    """Resolve a file of a pipeline in the user's current folder; a module or a name stays as it is.

    The current folder becomes the last place where Python looks for modules, so that a file or a module of one's own
    project may import what lies beside it.
    """
    from millrace.declaration.find import is_file, is_path, split_path

    if not is_path(pipeline):
        return pipeline
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    target, attribute = split_path(pipeline)
    return f"{Path(target).resolve()}:{attribute}" if is_file(target) else pipeline


def run_flow(flow_run: Coroutine[Any, Any, Result], show: Callable[[RunReport], None] | None = None) -> Result:
    """Run a flow and return its result. A failure ends the command, with a line for each cause.

    ``show`` gets the report of a run in which some streams failed.
    """
    from millrace.blocks.api import check_api, translate_error
    from millrace.tasks.failures import distinct_errors
    from millrace.tasks.report import RunFailed

    async def wait() -> Result:
        with closing(flow_run):
            await check_api()
            return await flow_run

    try:
        with _log_failures_once():
            return asyncio.run(wait())
    except Exception as error:
        if isinstance(error, RunFailed) and show is not None:
            show(error.report)
        if _is_debugged():
            raise
        fail(*distinct_errors(translate_error(cause) for cause in distinct_errors([error])))


class _FailureFilter(logging.Filter):
    """Drops Prefect's log records of failed tasks and flows, which repeat an error at each level that it passes.

    A record with a traceback stays: such an error was not expected.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        return bool(record.exc_info) or _is_debugged() or not _FAILURE.match(record.getMessage())


@contextmanager
def _log_failures_once() -> Iterator[None]:
    """Keep the log on the terminal from repeating failures; the run's log in Prefect has them all."""
    from prefect.logging.handlers import PrefectConsoleHandler

    consoles = [handler for handler in logging.getLogger().handlers if isinstance(handler, PrefectConsoleHandler)]
    failure_filter = _FailureFilter()
    for console in consoles:
        console.addFilter(failure_filter)
    try:
        yield
    finally:
        for console in consoles:
            console.removeFilter(failure_filter)


def _is_debugged() -> bool:
    return logging.getLogger("prefect").isEnabledFor(logging.DEBUG)


def print_message(message: object) -> None:
    """Write a line to stderr, without secrets."""
    typer.secho(f"millrace: {escape_unprintable(redact(message))}", err=True, fg="red" if sys.stderr.isatty() else None)


def fail(*errors: BaseException) -> NoReturn:
    """End the command with a line for each error and their exit code.

    For an unexpected error the line names only the type: its message may contain a secret or a value of a row.
    """
    for error in errors:
        unexpected = f"an unexpected {type(error).__name__}. Remedy: see with `millrace --debug` where, and report it."
        print_message(error if isinstance(error, MillraceError) else unexpected)
    raise typer.Exit(WRONG_REQUEST if all(isinstance(error, ConfigurationError) for error in errors) else FAILED)
