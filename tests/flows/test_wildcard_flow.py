"""A pipeline of wildcards through the flow and the commands: runs find the tables, the ledger knows their names."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from millrace.blocks.load import load_landing
from millrace.cli.main import application
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.flows.transform import TransformRequest, transform
from millrace.lake.batch import MANIFEST_NAME
from tests.flows.conftest import MONGO_DATABASE, Places

WILDCARDS = """
from millrace import Pipeline, Streams
pipeline = Pipeline("shop", [
    Streams("postgres:public.*", exclude=["secret*"]),
    Streams("mongo:finance.*", prefix="mongo_"),
])
"""
MODELLED = """
import dataframely as dy
from millrace import Model, Pipeline, Streams

class Total(dy.Schema):
    id = dy.Int32(nullable=False)

def totals(orders):
    return orders.select("id")

pipeline = Pipeline("shop", [Streams("postgres:public.*")], models=[Model(totals, Total, "id")], schema="shop_source")
"""


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    done = CliRunner().invoke(application, arguments)
    return done.exit_code, done.stdout, done.stderr


def statuses(out: str) -> dict[str, str]:
    """The status of each row of a report."""
    rows = [line.replace("│", " ").split() for line in out.splitlines() if line.startswith("│")]
    return {name: status for name, status, *_ in rows}


def test_the_commands_of_a_pipeline_of_wildcards(places: Places, tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_text(WILDCARDS)
    name = str(path)
    places.source("CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1)")
    places.source("CREATE TABLE items (id int PRIMARY KEY); CREATE TABLE secrets (id int)")
    MongoClient(places.mongo_url)[MONGO_DATABASE].trades.insert_one({"_id": 1})
    code, _, said = invoke("pause", name, "orders")
    assert (code, "it has only wildcards, and no run has found their tables yet" in said) == (2, True)
    code, out, said = invoke("plan", name)
    assert code == 0, said
    assert "orders: postgres:public.orders → shop.orders" in out
    assert "note: table public.orders; no column says when a row was changed: every run reads all rows" in out
    assert "mongo:finance.* as mongo_*: new: finance.trades as mongo_trades, key _id, Snapshot" in out
    assert places.everything() == {}, "a plan records nothing"
    code, out, said = invoke("run", name)
    assert code == 0, said
    assert statuses(out) == {"orders": "loaded", "items": "loaded", "mongo_trades": "loaded"}
    places.source("DROP TABLE items; CREATE TABLE sales (id int PRIMARY KEY); INSERT INTO sales VALUES (1)")
    code, out, said = invoke("run", name)
    assert (code, statuses(out)["sales"]) == (0, "loaded"), said
    assert "postgres:public.*: new: public.sales as sales, key id, Snapshot" in out
    assert "postgres:public.*: gone: public.items, or this user does not see it any more" in out
    assert invoke("run", name)[1].count("public.*: new") == 0
    code, out, said = invoke("reload", name, "orders")
    assert (code, statuses(out)) == (0, {"orders": "loaded"}), said
    assert invoke("pause", name, "sales")[0] == invoke("rejects", name)[0] == 0
    code, out, said = invoke("run", name, "--stream", "nope")
    assert (code, "there is no stream 'nope'. Remedy: choose from orders, sales, mongo_trades" in said) == (2, True)
    assert statuses(invoke("run", name, "--stream", "sales")[1]) == {"sales": "paused"}


async def test_a_wildcard_that_fails_stops_no_stream_of_another(places: Places, tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_text(WILDCARDS.replace("mongo:finance.*", "mongo:absent.*"))
    places.source("CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1)")
    with pytest.raises(ExceptionGroup, match=r"failed: mongo:absent\.\* as mongo_\*\. pipeline shop") as raised:
        await replicate(ReplicateRequest(pipeline=str(path)))
    rows = {row.stream: row.status for row in raised.value.report.streams}  # type: ignore[attr-defined]
    assert rows == {"orders": "loaded", "mongo:absent.* as mongo_*": "refused"}


async def test_an_event_loads_what_a_wildcard_landed(places: Places, tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_text(MODELLED)
    places.source("CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1)")
    landed = await replicate(ReplicateRequest(pipeline=str(path), load=False))
    assert [row.status for row in landed.streams] == ["landed"]
    keys = (await load_landing()).list_keys("shop/orders/")
    manifests = [key for key in keys if key.endswith(MANIFEST_NAME)]
    report = await transform(TransformRequest(pipeline=str(path), manifests=manifests))
    assert {row.stream: row.inserted for row in report.streams} == {"orders": 1, "totals": 1}
