"""One stack with an ECS for all of these tests: everything deployed, sample data in the sources."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_HOME, temporary_settings

from local.stack import Stack
from tests.conftest import drain
from tests.ecs.chain import Chain
from tests.ecs.deploying import no_schedules, up


@pytest.fixture(scope="session")
def bare_chain() -> Iterator[Chain]:
    """The whole stack, on which nothing was deployed."""
    with Stack(ecs=True) as stack:
        assert stack.prefect is not None
        settings = {
            PREFECT_API_URL: stack.prefect.api_url,
            PREFECT_HOME: stack.prefect.home,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        }
        with temporary_settings(settings), get_client(sync_client=True) as client:
            yield Chain.of(stack, client)
            asyncio.run(drain())


@pytest.fixture(scope="session")
def deployed(bare_chain: Chain) -> tuple[str, str]:
    """What ``python -m infra.deploy up`` said at its end, the first and the second time."""
    with no_schedules(bare_chain.client):
        return up(bare_chain.stack), up(bare_chain.stack)


@pytest.fixture(scope="session")
def chain(bare_chain: Chain, deployed: tuple[str, str]) -> Chain:
    """All of it, deployed, with sample data in the sources. No schedule is active: runs come when a test asks."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bare_chain.stack.environment().items():
            patch.setenv(name, value)
        asyncio.run(bare_chain.ends.fill())
    return bare_chain
