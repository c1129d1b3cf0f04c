"""The command `millrace reload` by its flow: from applied batches, from the source, as a plan, and asked wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from millrace.base.errors import ConfigurationError
from millrace.cli.main import application
from millrace.flows.reload import ReloadRequest, reload
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.runs.reload import ReloadResult
from millrace.tasks.reload import ReloadPlan
from millrace.tasks.stream_life import pause
from tests.flows.conftest import Places

DECLARED = """
import dataframely as dy
from millrace import History, Incremental, Model, Pipeline, Stream

class Doubled(dy.Schema):
    id = dy.Int32(nullable=False)
    amount = dy.Int32(nullable=True)

def doubled(sales):
    return sales.select("id", amount=sales["amount"] * 2)

sales = Stream("sales", source="postgres:public.sales", key="id", capture=Incremental("changed"))
shop = Pipeline("shop", [sales], models=[Model(doubled, Doubled, "id", load=History("record"))], schema="shop_source")
"""


async def test_a_model_is_computed_again_on_demand(places: Places, tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(DECLARED)
    pipeline = f"{module}:shop"
    places.source(
        "CREATE TABLE sales (id int PRIMARY KEY, amount int, changed timestamptz DEFAULT clock_timestamp()); "
        "INSERT INTO sales VALUES (1, 10), (2, 20)"
    )
    await replicate(ReplicateRequest(pipeline=pipeline))
    places.source("UPDATE sales SET amount = 11, changed = now() WHERE id = 1")
    await replicate(ReplicateRequest(pipeline=pipeline))
    rows = 'SELECT id, amount, "_version" FROM shop.doubled ORDER BY 1, 3'
    before = places.warehouse(rows)
    assert before == [(1, 20, 1), (1, 22, 2), (2, 40, 1)]
    places.warehouse("DELETE FROM shop.doubled WHERE id = 2; UPDATE shop.doubled SET amount = 0")
    planned = await reload(ReloadRequest(pipeline=pipeline, model="doubled", dry_run=True))
    assert isinstance(planned, ReloadPlan)
    assert (planned.groups, planned.rows >= 3, places.warehouse(rows) == before) == (2, True, False)
    done = await reload(ReloadRequest(pipeline=pipeline, model="doubled"))
    assert done == ReloadResult("doubled", groups=2, inserted=2, updated=1)
    assert places.warehouse(rows) == before
    done = await reload(ReloadRequest(pipeline=pipeline, model="doubled", source="source"))
    assert done == ReloadResult("doubled", groups=1, inserted=2)
    assert places.warehouse(rows) == [(1, 22, 1), (2, 40, 1)]
    report = await replicate(ReplicateRequest(pipeline=pipeline))
    assert [row.loaded for row in report.streams] == [0] * len(report.streams), "leases were given back"
    await pause(pipeline, "sales", "the table is rebuilt")
    with pytest.raises(ConfigurationError, match=r"sales: it is paused since .*the table is rebuilt.*millrace resume"):
        await reload(ReloadRequest(pipeline=pipeline, model="doubled", source="source"))
    with pytest.raises(ConfigurationError, match=r"there is no model 'sales'.*choose from doubled"):
        await reload(ReloadRequest(pipeline=pipeline, model="sales"))


TWO_ROOTS = """
import dataframely as dy
from millrace import Incremental, Model, Pipeline, Snapshot, Stream

class Joined(dy.Schema):
    id = dy.Int32(nullable=False)

def joined(sales, refunds):
    return sales.select("id").join(refunds.select("id"), on="id")

sales = Stream("sales", source="postgres:public.sales", key="id", capture=Incremental("changed"))
refunds = Stream("refunds", source="postgres:public.refunds", key="id", capture=Snapshot())
shop = Pipeline("shop", [sales, refunds], models=[Model(joined, Joined, "id")], schema="shop_source")
"""


async def test_a_stream_that_cannot_be_read_leaves_no_lease_of_the_others(places: Places, tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(TWO_ROOTS)
    pipeline = f"{module}:shop"
    for name in ("sales", "refunds"):
        places.source(f"CREATE TABLE {name} (id int PRIMARY KEY, changed timestamptz DEFAULT clock_timestamp())")
        places.source(f"INSERT INTO {name} VALUES (1)")
    await replicate(ReplicateRequest(pipeline=pipeline))
    places.source("ALTER TABLE refunds RENAME TO lost")
    with pytest.raises(ExceptionGroup, match=r"relation \"public.refunds\" does not exist"):
        await reload(ReloadRequest(pipeline=pipeline, model="joined", source="source"))
    places.source("ALTER TABLE lost RENAME TO refunds")
    await replicate(ReplicateRequest(pipeline=pipeline))


def invoke(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(application, arguments)
    return done.exit_code, done.stdout, done.stderr


def test_a_stream_is_reloaded_with_the_snapshots_that_its_models_need(places: Places, tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(TWO_ROOTS)
    for name in ("sales", "refunds"):
        places.source(f"CREATE TABLE {name} (id int PRIMARY KEY, changed timestamptz DEFAULT clock_timestamp())")
        places.source(f"INSERT INTO {name} VALUES (1), (2)")
    pipeline = f"{module}:shop"
    assert invoke("run", pipeline)[0] == 0
    places.source("DELETE FROM sales WHERE id = 2")
    places.warehouse("UPDATE shop_source.sales SET id = 7 WHERE id = 1")
    code, out, _ = invoke("reload", pipeline, "sales", "--dry-run")
    assert (code, "replace table shop_source.sales by a new one" in out) == (0, True)
    code, out, said = invoke("reload", pipeline, "sales", "--json")
    assert code == 0, said
    assert {row["stream"]: row["status"] for row in json.loads(out)["streams"]} == {
        "sales": "loaded",
        "refunds": "nothing new",
        "joined": "loaded",
    }
    assert places.warehouse("SELECT id FROM shop_source.sales") == [(1,)]
    assert places.warehouse('SELECT id FROM shop.joined WHERE "_deleted_at" IS NULL') == [(1,)]
    code, _, said = invoke("reload", pipeline, "sales", "--from", "landing")
    assert (code, "--from has no effect here: a stream is reloaded from its source" in said) == (2, True)
    code, _, said = invoke("reload", pipeline, "joined", "--allow-deletes")
    assert (code, "--allow-deletes has no effect here" in said) == (2, True)
    code, _, said = invoke("reload", pipeline, "nope")
    assert (code, "there is no stream or model 'nope'. Remedy: choose from sales, refunds, joined" in said) == (2, True)
    with pytest.raises(ValueError, match="name the `streams`"):
        ReplicateRequest(pipeline=pipeline, mode="reload")
