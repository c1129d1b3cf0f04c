"""The order in which an environment is deployed: stack, secrets, image, Prefect's objects, worker.

Every step looks at what exists and changes what differs, so the same order works for the first time, for every later
one, and after a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from infra import cloudformation
from infra import image as images
from infra.change import Action, StackChange, of_line
from infra.check import check
from infra.cloud_environment import CloudEnvironment
from infra.cloudformation import Progress
from infra.deployments import apply_deployments
from infra.pool import apply_pool, template
from infra.preconditions import apply_preconditions
from infra.secret_values import apply_secrets, keep_values
from infra.settings import runnable
from millrace.base.errors import ConfigurationError
from millrace.blocks.bootstrap import bootstrap
from millrace.blocks.names import variables_of
from millrace.blocks.reference import reference
from millrace.checks.check import Result
from millrace.declaration.find import find_pipeline
from millrace.flows.automations import apply_automations, declared_promises

Step = Callable[[], list[StackChange]]


def bring_up(cloud: CloudEnvironment, chosen: str | None, set_secrets: bool, say: Progress) -> Iterator[StackChange]:
    """Create or update everything; yield each change when it is made.

    ``chosen`` is another image than that of this commit.
    """
    say("preconditions")
    yield from apply_preconditions(cloud)
    if cloud.outputs:
        yield from keep_values(cloud, {*cloud.settings.secret_variables(), cloud.settings.prefect_credential})
    say("stack")
    running = cloudformation.worker_image(cloud)
    yield from cloudformation.apply_stack(cloud, running, progress=say)
    cloud.outputs = cloudformation.outputs_of(cloud)
    wanted = images.image_name(cloud, chosen)
    for name, step in _steps(cloud, wanted, set_secrets=set_secrets, dry_run=False):
        say(name)
        yield from step()
        if name == "work pool" and cloud.settings.worker and wanted != running:
            # Before blocks, deployments and automations, so that nothing which Prefect refuses keeps it from running.
            say("worker")
            yield from cloudformation.apply_stack(cloud, wanted, progress=say)


def check_tasks(cloud: CloudEnvironment, chosen: str | None, say: Progress) -> Iterator[StackChange]:
    """Check from within the environment what runs need, and yield what is left to do."""
    say("check")
    for outcome in check(cloud, images.image_name(cloud, chosen), say):
        if outcome.result is Result.WRONG:
            name, detail = f"{outcome.place}: {outcome.name}", f"{outcome.found}. Remedy: {outcome.remedy}"
            yield StackChange("check", name, Action.LEFT, detail)


def preview(cloud: CloudEnvironment, chosen: str | None, say: Progress) -> Iterator[StackChange]:
    """Yield what `bring_up` would do."""
    yield from apply_preconditions(cloud, dry_run=True)
    say("stack")
    if not cloud.outputs:
        yield from cloudformation.apply_stack(cloud, "", dry_run=True)
        yield StackChange("everything else", "image, work pool, blocks, deployments, automations", Action.CREATED)
        return
    wanted = images.image_name(cloud, chosen)
    yield from cloudformation.apply_stack(cloud, wanted, dry_run=True)
    for name, step in _steps(cloud, wanted, set_secrets=False, dry_run=True):
        say(name)
        yield from step()


def _steps(cloud: CloudEnvironment, wanted: str, *, set_secrets: bool, dry_run: bool) -> Iterator[tuple[str, Step]]:
    yield "secrets", lambda: apply_secrets(cloud, overwrite=set_secrets, dry_run=dry_run)
    yield "image", lambda: images.apply_image(cloud, wanted, dry_run=dry_run)
    yield "work pool", lambda: apply_pool(cloud, dry_run=dry_run)
    yield "blocks", lambda: of_lines("block", asyncio.run(bootstrap(task_variables(cloud), dry_run=dry_run)))
    yield "deployments", lambda: apply_deployments(cloud, wanted, dry_run=dry_run)
    yield "automations", lambda: _automations(cloud, dry_run)


def _automations(cloud: CloudEnvironment, dry_run: bool) -> list[StackChange]:
    """Apply the automations, with freshness alerts only for pipelines that can run."""
    promises = declared_promises(runnable(cloud.settings.pipelines, cloud.secret_arns))
    try:
        return of_lines("automation", asyncio.run(apply_automations(fresh_within=promises, dry_run=dry_run)))
    except ConfigurationError as error:
        # The key may not see automations: everything else runs without them.
        return [StackChange("automations", "", Action.LEFT, str(error))]


def task_variables(cloud: CloudEnvironment) -> dict[str, str]:
    """Return the variables of a task, with references to secrets, from which the blocks are made.

    Secrets that a pipeline requires are included even if they have no value yet.
    """
    container = template(cloud)["job_configuration"]["task_definition"]["containerDefinitions"][0]
    plain = {one["name"]: one["value"] for one in container["environment"]}
    required = {name for pipeline in cloud.settings.pipelines for name in variables_of(find_pipeline(pipeline))}
    secrets = {name: reference(name) for name in required | {one["name"] for one in container["secrets"]}}
    return plain | secrets | {"AWS_DEFAULT_REGION": cloud.session.region_name} | cloud.emulator()


def of_lines(kind: str, lines: Iterable[str]) -> list[StackChange]:
    """Parse the lines that another command printed."""
    return [of_line(kind, line) for line in lines]
