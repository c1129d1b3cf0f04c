"""One stack with an ECS for all of these tests: blocks saved, sample data in the sources, everything deployed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_HOME, temporary_settings

from blocks.bootstrap import bootstrap
from flows.automations import apply_automations
from local.stack import Stack
from tests.conftest import drain
from tests.ecs.chain import Chain
from tests.ecs.deploying import Deployments, deploy_all, deployments, no_schedules
from tests.ecs.ends import Ends
from tests.flows.inbox import Inbox


@pytest.fixture(scope="session")
def bare_chain() -> Iterator[Chain]:
    """The whole stack with blocks saved and sample data in the sources; nothing is deployed."""
    with Stack(ecs=True) as stack:
        assert stack.prefect is not None
        assert stack.ecs is not None
        settings = {
            PREFECT_API_URL: stack.prefect.api_url,
            PREFECT_HOME: stack.prefect.home,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        }
        with temporary_settings(settings), get_client(sync_client=True) as client:
            chain = Chain(stack, stack.ecs, client, Ends(stack), Inbox.open(stack))
            asyncio.run(prepare(chain))
            yield chain
            asyncio.run(drain())


async def prepare(chain: Chain) -> None:
    """What `make up` does, in this process, which has imported Prefect already."""
    await bootstrap(chain.stack.environment() | {"ALERT_TOPIC_ARN": chain.inbox.topic_arn})
    await chain.ends.fill()


@pytest.fixture(scope="session")
def deployed(bare_chain: Chain) -> tuple[Deployments, Deployments]:
    """What the server holds after ``prefect deploy --all``, and after it was run again."""
    with no_schedules(bare_chain.client):
        deploy_all()
        first = deployments(bare_chain.client)
        deploy_all()
        return first, deployments(bare_chain.client)


@pytest.fixture(scope="session")
def chain(bare_chain: Chain, deployed: tuple[Deployments, Deployments]) -> Chain:
    """All of it, deployed and watched by the automations. No schedule is active: runs come when a test asks."""
    asyncio.run(apply_automations())
    return bare_chain
