"""Every command of docs/guides/deploy.md and docs/runbook.md does what it says, in its order.

Those of a run's life are in test_chain.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from prefect.client.schemas.actions import WorkPoolUpdate

from infra import work_pool
from tests.ecs import runbook
from tests.ecs.chain import Chain

# This stack has no MySQL: its secret has no value, and `status` says so.
EXIT_CODES = {"python -m infra.deploy status --env prod": 1}
SECRET = "millrace/local/SOURCE_POSTGRES_URL"


@contextmanager
def arranged(chain: Chain, command: str) -> Iterator[dict[str, str]]:
    """What the command needs; and afterwards, what became of it."""
    if "$NEW_URL" in command:
        new = chain.stack.environment()["SOURCE_POSTGRES_URL"] + "?application_name=rotated"
        yield {"NEW_URL": new}
        assert chain.stack.aws.client("secretsmanager").get_secret_value(SecretId=SECRET)["SecretString"] == new
    elif "schedule resume" in command:
        pool(chain, is_paused=True)
        yield {}
        for deployment in chain.client.read_deployments():
            for schedule in deployment.schedules:
                assert schedule.active
                chain.client.update_deployment_schedule(deployment.id, schedule.id, active=False)
        pool(chain, is_paused=False)
    else:
        yield {}


def pool(chain: Chain, *, is_paused: bool) -> None:
    """So that a schedule starts nothing, or again what is asked for."""
    chain.client.update_work_pool(work_pool.NAME, WorkPoolUpdate(is_paused=is_paused))


def test_each_command_does_what_it_says(chain: Chain, subtests: pytest.Subtests) -> None:
    """In the order in which the pages name them."""
    for command in runbook.COMMANDS:
        if command not in runbook.OF_THE_CHAIN:
            with subtests.test(msg=command):
                _run(chain, command)


def _run(chain: Chain, command: str) -> None:
    with arranged(chain, command) as variables:
        said = runbook.run(chain.stack, command, exit_code=EXIT_CODES.get(command, 0), **variables)
    if started := re.search(r"UUID: (\S+)", said):
        assert chain.state_of(UUID(started[1])).name == "Completed"


def test_there_are_commands_for_every_day() -> None:
    wanted = {*runbook.OF_THE_CHAIN, "replicate/sweep", "replicate/backfill", "schedule pause", "--set-secrets"}
    assert {words for words in wanted if not any(words in command for command in runbook.COMMANDS)} == set()
