"""Messages of the queue ``orders``, put into the lake as a consumer of the queue puts them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from millrace.queues.objects import collected_prefix, put_messages
from tests.support.engine import PIPELINE, Engine

NOON = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
"""When messages were collected, unless a test says another time."""
LATER = NOON + timedelta(minutes=1)


def order(key: str, **fields: Any) -> str:
    """A message as it is sent."""
    return json.dumps({"id": key, "placed_at": "2026-01-05T10:00:00.123+0100", **fields})


def collect(engine: Engine, *messages: str, at: datetime = NOON) -> str:
    """Put messages, each with an identity of its own, into one object; the object's name."""
    return collect_identified(engine, [(uuid4().hex, message) for message in messages], at)


def collect_identified(engine: Engine, messages: Sequence[tuple[str, str]], at: datetime = NOON) -> str:
    """The same of messages with their identities."""
    return put_messages(engine.store, collected_prefix(PIPELINE, "orders"), messages, at)
