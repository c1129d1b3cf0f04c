"""One stack with an ECS for all of these tests, with sample data and one deployment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from local.ecs import IMAGE
from local.stack import Stack
from tests.ecs.chain import DEPLOYMENT, TRADES, TRANSACTIONS, Chain


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    """The whole stack with sample data in the sources, blocks saved and `replicate/stori` deployed."""
    with Stack(ecs=True) as stack:
        assert stack.prefect is not None
        assert stack.ecs is not None
        settings = {PREFECT_API_URL: stack.prefect.api_url, PREFECT_HOME: stack.prefect.home}
        with temporary_settings(settings), get_client(sync_client=True) as client:
            chain = Chain(stack, stack.ecs, client)
            chain.command("blocks.bootstrap")
            chain.command("cli.main", "seed", "stori", "--rows", str(TRANSACTIONS), "--documents", str(TRADES))
            deploy(chain)
            yield chain


def deploy(chain: Chain) -> None:
    """As written in prefect.yaml, but without its schedule: runs come when a test asks."""
    chain.command(
        "prefect",
        "--no-prompt",
        "deploy",
        "--name",
        "flows.replicate.replicate/stori",
        MILLRACE_IMAGE=IMAGE,
        MILLRACE_VERSION="local",
        MILLRACE_IMAGE_READY="1",
    )
    deployment = chain.client.read_deployment_by_name(DEPLOYMENT)
    for schedule in deployment.schedules:
        chain.client.update_deployment_schedule(deployment.id, schedule.id, active=False)
