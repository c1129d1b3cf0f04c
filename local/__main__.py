"""Command line of the local stack: ``python -m local up`` and ``python -m local run -- COMMAND``."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from local.mysql import URL_VARIABLE, is_available
from local.processes import dies_with_parent, neutral_environment
from local.stack import BANK_DATABASE, Stack
from millrace.base.errors import FatalError, MillraceError
from millrace.tasks.signals import stop_on_signals

WATCH_SECONDS = 0.5
SEED = "seed stori --rows 2000 --documents 500"
SIGNALLED_EXIT_CODE = 128
INTERRUPTED_EXIT_CODE = 130
COMMAND_NOT_FOUND_EXIT_CODE = 127

application = typer.Typer(
    help="Postgres, MySQL, MongoDB, AWS, a Redshift stand-in and a Prefect server on 127.0.0.1, without Docker.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Directory = Annotated[Path | None, typer.Option(help="Keep the data here for the next start.")]
WithPrefect = Annotated[bool, typer.Option("--prefect/--no-prefect", help="With or without the Prefect server.")]

WithMySQL = Annotated[
    bool | None, typer.Option("--mysql/--no-mysql", help="With or without MySQL; by default with it if it is there.")
]
WithEcs = Annotated[
    bool, typer.Option("--ecs/--no-ecs", help="With or without an ECS that runs Prefect's deployments.")
]


class Ended(BaseException):
    """SIGTERM or SIGHUP arrived. Not an Exception: nothing but the very end may catch it."""


def _end(_number: int, _frame: FrameType | None) -> None:
    raise Ended


@contextmanager
def _running(prefect: bool, mysql: bool | None, directory: Path | None, ecs: bool = False) -> Iterator[Stack]:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    print("Starting…", file=sys.stderr, flush=True)
    try:
        with_mysql = is_available() if mysql is None else mysql
        with Stack(prefect=prefect, mysql=with_mysql, ecs=ecs, directory=directory) as stack:
            yield stack
            print("Stopping…", file=sys.stderr, flush=True)
    except MillraceError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, Ended):
        # Before the command ran to its end: nobody may take that for success.
        print("Interrupted.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None


@application.command()
def up(directory: Directory = None, prefect: WithPrefect = True, mysql: WithMySQL = None, ecs: WithEcs = True) -> None:
    """Start everything, say what runs where, and stay until Ctrl-C."""
    # An exception would be lost if the signal came while an object is finalized.
    with _running(prefect, mysql, directory, ecs and prefect) as stack, stop_on_signals() as stop, suppress(Ended):
        if stack.ecs:
            _fill(stack)
        _describe(stack)
        _watch(stack, stop)


def _fill(stack: Stack) -> None:
    """Put sample data into empty sources of `stori`, so that its deployment has something to load."""
    if stack.postgres.execute("SELECT to_regclass('public.transactions')", database=BANK_DATABASE) != [(None,)]:
        return
    from infra.work_pool import is_secret  # noqa: PLC0415 - Prefect takes seconds to import

    print("Filling the sources of stori…", file=sys.stderr, flush=True)
    environment = stack.environment()
    # Blocks as a deployment makes them: with references in the place of URLs.
    references = {name: f"${{{name}}}" for name in environment if name.endswith("_URL") and is_secret(name)}
    for arguments, further in (("-m millrace.blocks.bootstrap", references), (f"-m millrace.cli.main {SEED}", {})):
        done = subprocess.run(
            [sys.executable, *arguments.split()],
            env=neutral_environment() | environment | further,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise FatalError(done.stderr.strip(), place="sources of stori", remedy="see what the message asks for")


def _watch(stack: Stack, stop: threading.Event) -> None:
    processes = {service.name: service.process for service in stack.services() if service.process}
    while not stop.wait(WATCH_SECONDS):
        if ended := {name: process for name, process in processes.items() if process.has_ended()}:
            for name, process in ended.items():
                print(f"{name} ended unasked; the end of its log:\n{process.log_tail()}", file=sys.stderr)
            raise typer.Exit(1)


@application.command(context_settings={"allow_interspersed_args": False})
def run(
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after --.", metavar="COMMAND…")],
    directory: Directory = None,
    prefect: WithPrefect = True,
    mysql: WithMySQL = None,
    ecs: WithEcs = False,
) -> None:
    """Start everything, run COMMAND with the stack's environment, stop everything, return COMMAND's exit code."""
    with _running(prefect, mysql, directory, ecs and prefect) as stack:
        raise typer.Exit(_run_in_foreground(command, stack))


def _run_in_foreground(command: list[str], stack: Stack) -> int:
    try:
        popen = subprocess.Popen(dies_with_parent(command), env=neutral_environment() | stack.environment())
    except FileNotFoundError:
        print(f"{command[0]}: command not found", file=sys.stderr)
        return COMMAND_NOT_FOUND_EXIT_CODE
    # Ctrl-C reaches the command as well, in the same terminal: it decides, this process waits for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = popen.wait()
    except Ended:
        popen.terminate()
        code = popen.wait()
    return code if code >= 0 else SIGNALLED_EXIT_CODE - code


def _describe(stack: Stack) -> None:
    table = Table("What", "For", "Where", "Process", box=None)
    for service in stack.services():
        identifier = str(service.process.process_id) if service.process else "not ours"
        table.add_row(service.name, service.what, service.where, identifier)
    console = Console(width=max(Console().width, 100))
    console.print(table)
    if not is_available():
        print(f"Without MySQL. To have it: apt-get install mariadb-server-core (Debian), or set {URL_VARIABLE}.")
    print(f"\nData and logs: {stack.directory}")
    print("Paste into another terminal:\n")
    for name, value in stack.environment().items():
        print(f"export {name}={shlex.quote(value)}")
    print("\nCtrl-C stops everything.", flush=True)


if __name__ == "__main__":
    application(prog_name="python -m local")
