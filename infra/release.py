"""The order in which everything of an environment is made: stack, secrets, image, Prefect's objects, worker.

Every step looks at what is there and makes what differs, so that the same order serves the first time, every later one,
and after a failure half way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from infra import cloudformation
from infra import image as images
from infra.change import Action, Change, of_line
from infra.cloudformation import Progress
from infra.deployments import apply_deployments
from infra.pool import apply_pool, template
from infra.secret_values import apply_secrets
from infra.settings import runnable, variables_of
from infra.target import Target
from millrace.blocks.bootstrap import bootstrap
from millrace.blocks.reference import reference
from millrace.declaration.find import find
from millrace.flows.automations import apply_automations, declared_promises

Step = Callable[[], list[Change]]


def bring_up(target: Target, chosen: str | None, set_secrets: bool, say: Progress) -> Iterator[Change]:
    """Make or change everything; each change as soon as it is made. ``chosen`` is another image than this commit's.

    The worker comes last: what it takes its work from is there by then.
    """
    say("stack")
    running = cloudformation.worker_image(target)
    yield from cloudformation.apply_stack(target, running, progress=say)
    target.outputs = cloudformation.outputs_of(target)
    wanted = images.wanted(target, chosen)
    for name, step in _steps(target, wanted, set_secrets=set_secrets, dry_run=False):
        say(name)
        yield from step()
    if target.settings.worker and wanted != running:
        say("worker")
        yield from cloudformation.apply_stack(target, wanted, progress=say)


def preview(target: Target, chosen: str | None, say: Progress) -> Iterator[Change]:
    """What `bring_up` would do."""
    say("stack")
    if not target.outputs:
        yield from cloudformation.apply_stack(target, "", dry_run=True)
        yield Change("everything else", "image, work pool, blocks, deployments, automations", Action.CREATED)
        return
    wanted = images.wanted(target, chosen)
    yield from cloudformation.apply_stack(target, wanted, dry_run=True)
    for name, step in _steps(target, wanted, set_secrets=False, dry_run=True):
        say(name)
        yield from step()


def _steps(target: Target, wanted: str, *, set_secrets: bool, dry_run: bool) -> Iterator[tuple[str, Step]]:
    yield "secrets", lambda: apply_secrets(target, overwrite=set_secrets, dry_run=dry_run)
    yield "image", lambda: images.apply_image(target, wanted, dry_run=dry_run)
    yield "work pool", lambda: apply_pool(target, dry_run=dry_run)
    yield "blocks", lambda: of_lines("block", asyncio.run(bootstrap(described(target), dry_run=dry_run)))
    yield "deployments", lambda: apply_deployments(target, wanted, dry_run=dry_run)
    yield "automations", lambda: _automations(target, dry_run)


def _automations(target: Target, dry_run: bool) -> list[Change]:
    """Of a pipeline that cannot run yet nobody expects fresh data."""
    promises = declared_promises(runnable(target.settings.pipelines, target.secret_arns))
    return of_lines("automation", asyncio.run(apply_automations(fresh_within=promises, dry_run=dry_run)))


def described(target: Target) -> dict[str, str]:
    """The environment of a task, secrets by reference: what the blocks are made of.

    What a pipeline requires is referred to before it has a value.
    """
    container = template(target)["job_configuration"]["task_definition"]["containerDefinitions"][0]
    plain = {one["name"]: one["value"] for one in container["environment"]}
    required = {name for pipeline in target.settings.pipelines for name in variables_of(find(pipeline))}
    secrets = {name: reference(name) for name in required | {one["name"] for one in container["secrets"]}}
    return plain | secrets | {"AWS_DEFAULT_REGION": target.session.region_name} | target.emulator()


def of_lines(kind: str, lines: Iterable[str]) -> list[Change]:
    """From the lines that other commands print."""
    return [of_line(kind, line) for line in lines]
