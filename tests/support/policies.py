"""What tests of schema policies share: all policies, and what a run said and rejected."""

from __future__ import annotations

from millrace import Stream
from millrace.declaration.captures import SchemaPolicy
from millrace.warehouse.ledger.load_result import LoadResult
from tests.support.engine import Engine

POLICIES: tuple[SchemaPolicy, ...] = ("evolve", "freeze", "quarantine")


async def delivered(engine: Engine, stream: Stream) -> LoadResult:
    result = await engine.deliver(stream)
    assert result is not None
    return result


def rejects(engine: Engine) -> list[tuple[str, str, str]]:
    return [(one["coordinates"], one["reason"], one["field"]) for one in engine.rejects()]
