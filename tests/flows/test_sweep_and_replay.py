"""Sweeps, replays and leases as flow runs, from the declaration to the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.runs.choose import Mode
from millrace.tasks.rejects import list_rejects
from millrace.tasks.report import RunFailed, RunReport, StreamReport
from tests.flows.conftest import Places

DECLARED = """
import dataframely as dy
from millrace import Incremental, Pipeline, Stream

class Positive(dy.Schema):
    amount = dy.Int32(nullable=True, min_exclusive={floor})

shop = Pipeline("shop", [
    Stream("sales", source="postgres:public.sales", key="id", capture=Incremental("changed"), contract=Positive,
           sweep={sweep!r})
])
"""

BROKEN = """
import dataframely as dy
from millrace import Incremental, Model, Pipeline, Stream

class Doubled(dy.Schema):
    id = dy.Int32(nullable=False)

def doubled(sales):
    raise ValueError("a bug")

sales = Stream("sales", source="postgres:public.sales", key="id", capture=Incremental("changed"))
shop = Pipeline("shop", [sales], models=[Model(doubled, Doubled, "id")], schema="shop_source")
"""


def declare(path: Path, sweep: str = "", floor: int = 0) -> str:
    module = path / "shop.py"
    module.write_text(DECLARED.format(sweep=sweep, floor=floor))
    return f"{module}:shop"


async def run(pipeline: str, mode: Mode = "incremental", **allowed: bool) -> StreamReport:
    report: RunReport = await replicate(ReplicateRequest(pipeline=pipeline, mode=mode, **allowed))
    (stream,) = report.streams
    return stream


@pytest.fixture
def sales(places: Places) -> Places:
    places.source(
        "CREATE TABLE sales (id int PRIMARY KEY, amount int, changed timestamptz DEFAULT clock_timestamp()); "
        "INSERT INTO sales VALUES (1, 10), (2, 20), (3, -3)"
    )
    return places


async def test_a_sweep_on_demand_brings_what_no_cursor_shows(sales: Places, tmp_path: Path) -> None:
    pipeline = declare(tmp_path)
    await run(pipeline)
    sales.source("UPDATE sales SET amount = 11 WHERE id = 1; DELETE FROM sales WHERE id = 2")
    swept = await run(pipeline, "sweep")
    assert (swept.kind, swept.read, swept.updated, swept.deleted, swept.rejected) == ("sweep", 3, 1, 1, 1)
    assert sales.warehouse("SELECT id, amount FROM shop.sales") == [(1, 11)]


async def test_a_due_sweep_takes_the_place_of_the_window(sales: Places, tmp_path: Path) -> None:
    sales.source("DELETE FROM sales WHERE id = 3; UPDATE sales SET changed = now() - interval '1 hour'")
    kinds = [(await run(declare(tmp_path, schedule))).kind for schedule in ("daily", "daily", "every run")]
    assert kinds == ["window", "", "sweep"]


async def test_rejects_are_listed_and_a_replay_closes_them(sales: Places, tmp_path: Path) -> None:
    pipeline = declare(tmp_path)
    await run(pipeline)
    (listed,) = await list_rejects(pipeline, ["sales"])
    assert (listed.reason, listed.field, listed.rows) == ("contract_min_exclusive", "amount", 1)
    (row,) = await list_rejects(pipeline, ["sales"], each=True)
    assert (row.coordinates, row.file) == ('{"id":3}', listed.file)
    replayed = await run(declare(tmp_path, floor=-100), "replay")
    assert (replayed.kind, replayed.read, replayed.inserted) == ("replay", 1, 1)
    assert await list_rejects(pipeline, ["sales"]) == []
    assert sales.warehouse("SELECT count(*) FROM shop.sales") == [(3,)]


async def test_what_a_refused_batch_rejected_is_listed_until_a_person_lets_it_through(
    sales: Places, tmp_path: Path
) -> None:
    pipeline = declare(tmp_path)
    sales.source("INSERT INTO sales SELECT i, -i FROM generate_series(10, 29) AS i")
    with pytest.raises(RunFailed, match=r"21 of 23 rows were rejected.*21 contract_min_exclusive of amount") as raised:
        await run(pipeline)
    assert f"`millrace rejects {pipeline} --stream sales`" in str(raised.value)
    (listed,) = await list_rejects(pipeline, ["sales"])
    assert (listed.reason, listed.field, listed.rows) == ("contract_min_exclusive", "amount", 21)
    assert listed.is_refused
    assert len(await list_rejects(pipeline, ["sales"], each=True)) == 21
    accepted = await run(pipeline, accept_rejects=True)
    assert (accepted.inserted, accepted.rejected) == (2, 21)
    (listed,) = await list_rejects(pipeline, ["sales"])
    assert (listed.rows, listed.is_refused) == (21, False)


async def test_a_run_gives_its_leases_back(sales: Places, tmp_path: Path) -> None:
    pipeline = declare(tmp_path)
    for _ in range(2):
        await run(pipeline)
    assert sales.warehouse("SELECT token, expires_at <= GETDATE() FROM millrace.leases") == [(2, True)]


async def test_a_run_whose_model_fails_gives_its_leases_back(sales: Places, tmp_path: Path) -> None:
    """The next run, after the model was corrected, need not wait until they end by themselves."""
    (tmp_path / "broken.py").write_text(BROKEN)
    with pytest.raises(RunFailed, match="doubled"):
        await run(f"{tmp_path / 'broken.py'}:shop")
    assert sales.warehouse("SELECT token, expires_at <= GETDATE() FROM millrace.leases") == [(1, True)]
