"""Promise 2: a run may be killed at any step and started again: nothing lost, nothing doubled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import count

from local.stack import Stack
from millrace import Stream
from millrace.lake.batch import MANIFEST_NAME, Batch
from millrace.lake.manifest import read_manifest
from tests.faults.judge import Judge
from tests.faults.killing import kill_at
from tests.faults.places import Places
from tests.faults.subjects import Collection, Subject, Table
from tests.support.engine import PIPELINE, Engine

FEWEST_STEPS = 15
"""Below, the steps are not counted right."""
Restart = Callable[[Stream], Awaitable[object]]


async def kill_everywhere(
    places: Places, subject: Subject, judge: Judge, restart: Restart, operation: str = "deliver"
) -> list[str]:
    """Kill a run at its first step, its second, … until one ends by itself; each time change the source before,
    and restart and judge after. What the steps were."""
    steps: list[str] = []
    for number in count(1):
        subject.change(deletes=operation == "sweep")
        step = kill_at(number, places, subject.stream, operation)
        if step is None:
            judge.check()
            return steps
        steps.append(step)
        await restart(subject.stream)
        judge.check()
    raise AssertionError("count() does not end")


def latest_batch(engine: Engine, stream: Stream) -> Iterator[Batch]:
    """The batch that the killed run left in the lake, or the one before: none, or one."""
    keys = [key for key in engine.store.list_keys(f"{PIPELINE}/{stream.name}/") if key.endswith(f"/{MANIFEST_NAME}")]
    return (read_manifest(engine.store, key) for key in keys[-1:])


async def test_a_run_killed_at_any_step_and_read_again(kept_places: Places, table: Table, judge: Judge) -> None:
    """As when the whole run is retried: it reads anew, and what the killed one read is an orphan."""
    engine = kept_places.quick_engine()
    await engine.deliver(table.stream)
    steps = await kill_everywhere(kept_places, table, judge, engine.deliver)
    assert len(steps) > FEWEST_STEPS
    assert {"source: copy", "lake: put_file", "warehouse: copy", "warehouse: lock", "warehouse: insert"} <= {*steps}
    of_lease = "warehouse: committed" if kept_places.kept_in == "warehouse" else "lake: after replace_version"
    assert min(steps.count("lake: after put_bytes"), steps.count(of_lease)) >= 2


async def test_a_sweep_killed_at_any_step(places: Places, table: Table, judge: Judge) -> None:
    """Deletes and silent changes as well; neither is seen by the window."""
    engine = places.quick_engine()
    await engine.deliver(table.stream)
    steps = await kill_everywhere(places, table, judge, engine.sweep, "sweep")
    assert steps.count("source: copy") >= 2
    assert steps.count("warehouse: delete") >= 1


async def test_a_first_run_killed_at_any_step(stack: Stack, kept_places: Places, table: Table, judge: Judge) -> None:
    """The same where neither target nor ledger are there yet."""
    steps: list[str] = []
    for number in count(1):
        stack.warehouse.clear()
        stream = table.named(f"notes_{number}")
        step = kill_at(number, kept_places, stream)
        if step is None:
            break
        steps.append(step)
        await kept_places.quick_engine().deliver(stream)
        judge.check(stream)
    assert len(steps) > FEWEST_STEPS


async def test_a_run_from_mongodb_killed_at_any_step_and_loaded_again(places: Places, collection: Collection) -> None:
    """As when the load alone is retried: the batch that the killed run left is loaded, however far that run came."""
    engine = places.quick_engine()
    await engine.deliver(collection.stream)

    async def restart(stream: Stream) -> None:
        for batch in latest_batch(engine, stream):
            engine.load(stream, batch)
        await engine.deliver(stream)

    steps = await kill_everywhere(places, collection, Judge(places, collection), restart)
    assert len(steps) > FEWEST_STEPS
    assert {"source: find", "warehouse: copy"} <= {*steps}


async def test_a_run_to_a_postgres_warehouse_killed_at_any_step(postgres_places: Places) -> None:
    places, table = postgres_places, Table(postgres_places)
    engine = places.quick_engine()
    await engine.deliver(table.stream)
    steps = await kill_everywhere(places, table, Judge(places, table), engine.deliver)
    assert {"warehouse: copy", "warehouse: lock", "warehouse: insert"} <= {*steps}
