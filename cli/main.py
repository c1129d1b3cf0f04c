"""The command `millrace`: run, plan, sweep, replay and inspect pipelines from a terminal.

Results go to stdout (a table, or JSON with ``--json``), the flows' logs to stderr. Exit codes: 0 done, 1 the run
failed, 2 the request or the configuration is wrong.
"""

from __future__ import annotations

import logging
import os
import sys
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from millrace.cli.chart import chart
from millrace.cli.collect import collect
from millrace.cli.doctor import doctor
from millrace.cli.fixtures import test
from millrace.cli.init import init
from millrace.cli.logs import logs
from millrace.cli.rejects import rejects
from millrace.cli.reload import reload
from millrace.cli.run import plan, replay, run, sweep
from millrace.cli.sample import seed, simulate
from millrace.cli.stream_life import pause, rename, reset, resume
from millrace.cli.views import views


class _Commands(TyperGroup):
    """A group of commands that accepts `--debug` at any position."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if DEBUG in args:
            args = [DEBUG, *(argument for argument in args if argument != DEBUG)]
        return super().parse_args(ctx, args)


DEBUG = "--debug"
application = typer.Typer(
    name="millrace",
    cls=_Commands,
    help="Copy changes of operational databases into the warehouse, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Debug = Annotated[bool, typer.Option(DEBUG, help="Log everything, with tracebacks.")]

COMMANDS = (
    *(init, run, plan, sweep, replay, collect, reload, rejects, views, doctor, chart, test, logs),
    *(pause, resume, reset, rename, seed, simulate),
)
for command in COMMANDS:
    application.command()(command)


@application.callback()
def options(debug: Debug = False) -> None:
    """Copy changes of operational databases into the warehouse, exactly once."""
    if debug:
        # The variable is for Prefect if it is imported later, the logger if it is imported already.
        os.environ["PREFECT_LOGGING_LEVEL"] = "DEBUG"
        logging.getLogger("prefect").setLevel(logging.DEBUG)


def main() -> None:
    """Run the command; the entry point of the installed package."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # On a terminal or pipe that is not UTF-8, missing characters are escaped.
            stream.reconfigure(errors="backslashreplace")
    application()


if __name__ == "__main__":
    main()
