"""The checks of Prefect: its API, the blocks that runs load, and who is told of a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from prefect.settings import PREFECT_API_URL

from millrace.base.errors import ConfigurationError
from millrace.blocks.alerts import load_channels
from millrace.blocks.api import api_errors, check_api, is_on_cloud
from millrace.blocks.environment import make_blocks
from millrace.blocks.load import load
from millrace.blocks.sns import SnsNotification
from millrace.checks.check import Check

PLACE = "prefect"


def prefect_checks(environment: Mapping[str, str]) -> list[Check]:
    """Return the checks of Prefect, in order."""
    return [
        Check(PLACE, "api", "Asks Prefect's API, with the key of this process.", _ask_api, True),
        Check(PLACE, "blocks", "Loads every block that the variables describe.", lambda: _load_blocks(environment)),
        Check(PLACE, "alerts", "Looks for channels that reach somebody.", _find_channels),
    ]


def _ask_api() -> str:
    asyncio.run(check_api())
    return f"{PREFECT_API_URL.value() or 'a server of this process'} answers"


def _load_blocks(environment: Mapping[str, str]) -> str:
    async def load_all() -> int:
        described = list(make_blocks(environment))
        with api_errors():
            for name, block in described:
                await load(type(block), name)
        return len(described)

    return f"{asyncio.run(load_all())} blocks can be loaded"


def _find_channels() -> str:
    channels = asyncio.run(load_channels())
    if channels and is_on_cloud() and all(isinstance(channel, SnsNotification) for channel in channels):
        raise ConfigurationError(
            "Prefect Cloud runs no block type of ours: its automations (crashed, pending, late, silent) tell nobody",
            remedy="save a Slack, Microsoft Teams, PagerDuty or Email block named `alerts` in Prefect's UI, then run "
            "`python -m infra.deploy up` again",
        )
    return ", ".join(channel.get_block_type_slug() for channel in channels) or "no channel: nobody is told of a failure"
