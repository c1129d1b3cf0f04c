"""``python -m infra.deploy up|diff|check|status|down --env NAME``: deploy, compare, check or delete an environment.

`up` may be repeated, and continues where an earlier one ended: each step looks at what exists and changes what differs.
Exit codes: 0 done, 1 something failed (`status`: something does not work), 2 the request or a setting is wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from infra import cloudformation, status, teardown
from infra import image as images
from infra.change import Action, StackChange
from infra.check import check
from infra.cloud_environment import CloudEnvironment, translate_cloud_errors
from infra.pool import refuse_other_owner
from infra.release import bring_up, check_tasks, of_lines, preview, task_variables
from infra.settings import read_settings
from millrace.base.errors import ConfigurationError, MillraceError
from millrace.base.escaping import escape_unprintable
from millrace.blocks.bootstrap import remove
from millrace.checks.check import Result
from millrace.cli.show import print_json, print_outcomes
from millrace.flows.automations import remove_automations

FAILED, WRONG_REQUEST = 1, 2
MARKS = {Action.CREATED: "+", Action.UPDATED: "~", Action.REMOVED: "-", Action.UNCHANGED: "=", Action.LEFT: "!"}
COLOURS = {Action.CREATED: "green", Action.UPDATED: "yellow", Action.REMOVED: "red", Action.LEFT: "magenta"}

application = typer.Typer(
    help="Makes an environment of Millrace on AWS and Prefect, and keeps it as the code says.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Environment = Annotated[str, typer.Option("--env", help="infra/environments/NAME.toml, or the path of such a file.")]
Image = Annotated[
    str | None, typer.Option("--image", help="Another image than this commit's, or its tag: to go back to.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SetSecrets = Annotated[
    bool,
    typer.Option("--set-secrets", help="Replace the values of secrets by those of the environment variables here."),
]


@application.command()
def up(
    env: Environment,
    image: Image = None,
    set_secrets: SetSecrets = False,
    with_check: Annotated[bool, typer.Option("--check/--no-check", help="Check at the end what runs need.")] = True,
    as_json: AsJson = False,
) -> None:
    """Create and update everything until it is as the code says, then check from within what runs need."""
    with _cloud_environment(env) as cloud, _progress() as say:
        changes = []
        steps = (bring_up(cloud, image, set_secrets, say), check_tasks(cloud, image, say) if with_check else ())
        for change in chain.from_iterable(steps):
            changes.append(change)
            if not as_json:
                _print_change(change)
        _conclude(changes, as_json, "done")


@application.command(name="check")
def run_check(env: Environment, image: Image = None, as_json: AsJson = False) -> None:
    """Check from a task on ECS every server, right, bucket, queue and block that runs need."""
    with _cloud_environment(env) as cloud, _progress() as say:
        if not cloud.outputs:
            raise ConfigurationError(
                "it is not there", place=f"stack {cloud.settings.stack_name}", remedy="`python -m infra.deploy up`"
            )
        outcomes = check(cloud, images.image_name(cloud, image) if image else None, say)
    print_json(outcomes) if as_json else print_outcomes(outcomes)
    raise typer.Exit(FAILED if any(outcome.result is Result.WRONG for outcome in outcomes) else 0)


@application.command()
def diff(env: Environment, image: Image = None, as_json: AsJson = False) -> None:
    """Show what `up` would do. Changes nothing."""
    with _cloud_environment(env) as cloud, _progress() as say:
        changes = list(preview(cloud, image, say))
        for change in changes if not as_json else []:
            _print_change(change)
        _conclude(changes, as_json, "would be done")


@application.command(name="status")
def show_status(env: Environment, as_json: AsJson = False) -> None:
    """Show the state of every part."""
    with _cloud_environment(env) as cloud:
        found = list(status.lines(cloud))
    if as_json:
        print(json.dumps([asdict(line) for line in found], indent=2))
    else:
        for line in found:
            colour = "green" if line.is_well else "red"
            _console().print("●", style=colour, end=" ")
            _console().print(escape_unprintable(f"{line.what}: {line.state}"), markup=False, emoji=False)
    raise typer.Exit(0 if all(line.is_well for line in found) else FAILED)


@application.command()
def down(
    env: Environment,
    delete_data: Annotated[bool, typer.Option("--delete-data", help="Also what is in buckets and queues.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete everything that `up` created, except the warehouse. Refuses if buckets or queues contain data."""
    with _cloud_environment(env) as cloud:
        if not cloud.outputs:
            _conclude(teardown.remove_unfinished(cloud), as_json, "done")
            return
        if not yes and typer.prompt(f"Type {cloud.settings.name} to delete it", err=True) != cloud.settings.name:
            raise ConfigurationError("another name was typed", remedy="nothing was deleted")
        with _progress() as say:
            teardown.check(cloud, with_data=delete_data)
            changes = of_lines("automation", asyncio.run(remove_automations()))
            changes += of_lines("block", asyncio.run(remove(task_variables(cloud))))
            changes += teardown.tear_down(cloud, with_data=delete_data, progress=say)
        for change in changes if not as_json else []:
            _print_change(change)
        _conclude(changes, as_json, "done")


@contextmanager
def _cloud_environment(environment: str) -> Iterator[CloudEnvironment]:
    """Provide the environment, and end the command with the message of an error of Millrace."""
    try:
        with translate_cloud_errors():
            cloud = CloudEnvironment(read_settings(environment), os.environ)
            cloud.check()
            refuse_other_owner(cloud)
            cloud.outputs = cloudformation.outputs_of(cloud)
            yield cloud
    except MillraceError as error:
        typer.secho(f"millrace: {error}", err=True, fg="red" if sys.stderr.isatty() else None)
        raise typer.Exit(WRONG_REQUEST if isinstance(error, ConfigurationError) else FAILED) from None


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show the current step: on a terminal in one line that changes, else in a line each."""
    if not sys.stderr.isatty():
        yield lambda what: print(f"… {what}", file=sys.stderr, flush=True)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        line = progress.add_task("")
        yield lambda what: progress.update(line, description=what)


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False)


def _print_change(change: StackChange) -> None:
    if change.action is not Action.UNCHANGED:
        detail = f" ({change.detail})" if change.detail else ""
        words = f"{MARKS[change.action]} {change.kind} {change.name}: {change.action}{detail}"
        _console().print(words, style=COLOURS[change.action], markup=False)


def _conclude(changes: Iterable[StackChange], as_json: bool, done: str) -> None:
    found = list(changes)
    made = [change for change in found if not change.is_none]
    if as_json:
        print(json.dumps([asdict(change) for change in found], indent=2))
    elif made:
        counts = {action: sum(one.action is action for one in made) for action in Action}
        told_counts = ", ".join(f"{count} {action}" for action, count in counts.items() if count)
        print(f"{len(made)} changes {done}: {told_counts}.")
    else:
        print("No change.")


if __name__ == "__main__":
    application(prog_name="python -m infra.deploy")
