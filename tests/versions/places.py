"""Servers for histories of versions: one source, and a warehouse of either kind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace

from local.stack import Stack
from millrace.fixtures.memory_store import MemoryLake
from tests.support.engine import Together, bucket_store, quick_engine_between
from tests.torture.driver import Outcome
from tests.torture.places import WarehouseKind
from tests.versions.driver import play

WAREHOUSES: tuple[WarehouseKind, ...] = ("postgres", "redshift")


def together_on(stack: Stack, kind: WarehouseKind, name: str) -> Together:
    """On fresh databases. The lake is in memory, but where the warehouse copies from a bucket."""
    source, landing = stack.postgres.create_database(f"{name}_source"), MemoryLake()
    if kind == "redshift":
        stack.warehouse.clear()
        processed = bucket_store(stack, stack.aws.create_bucket(f"{name}-processed".replace("_", "-")))
        return Together(quick_engine_between(stack, landing, source, stack.warehouse.url), processed)
    warehouse = stack.postgres.create_database(f"{name}_warehouse")
    return Together(quick_engine_between(stack, landing, source, warehouse), MemoryLake())


def play_versions(seed: int, numbers: range) -> Iterator[Outcome]:
    """These histories, each on both warehouses, on servers of this process's own."""
    logging.disable(logging.ERROR)
    with Stack(prefect=False) as stack:
        places = {kind: together_on(stack, kind, f"versions_{kind}") for kind in WAREHOUSES}
        for number in numbers:
            yield _on_each(places, seed, number)


def _on_each(places: dict[WarehouseKind, Together], seed: int, number: int) -> Outcome:
    """On one warehouse after the other, until something is wrong."""
    steps = 0
    for kind, together in places.items():
        outcome = asyncio.run(play(together, seed, number))
        steps += outcome.steps
        if outcome.problem:
            return replace(outcome, steps=steps, problem=f"on {kind}: {outcome.problem}")
    return replace(outcome, steps=steps)
