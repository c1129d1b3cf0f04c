"""A paused stream is left out of runs, and so is what cannot be read without it; the commands of a stream's life."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from millrace.cli.main import application
from millrace.flows.replicate import replicate
from millrace.flows.request import ReplicateRequest
from millrace.tasks.report import RunReport
from millrace.tasks.stream_life import pause
from tests.flows.conftest import OwnPipeline, Places

STARS = """
import dataframely as dy
from millrace import Incremental, Model, Pipeline, Snapshot, Stream

class Joined(dy.Schema):
    id = dy.Int32(nullable=False)

class Listed(dy.Schema):
    id = dy.Int32(nullable=False)

def joined(sales, refunds):
    return sales.select("id").join(refunds.select("id"), on="id")

def listed(others):
    return others.select("id")

def stream(name, capture):
    return Stream(name, source=f"postgres:public.{name}", key="id", capture=capture)

streams = [stream("sales", Incremental("changed")), stream("refunds", Snapshot()), stream("others", Snapshot())]
models = [Model(joined, Joined, "id"), Model(listed, Listed, "id")]
pipeline = Pipeline("shop", streams, models=models, schema="shop_source")
"""


def told(report: RunReport) -> dict[str, tuple[str, str]]:
    return {row.stream: (row.status, row.note) for row in report.streams}


def create(places: Places, *tables: str) -> None:
    for name in tables:
        places.source(f"CREATE TABLE {name} (id int PRIMARY KEY, changed timestamptz DEFAULT clock_timestamp())")
        places.source(f"INSERT INTO {name} VALUES (1)")


async def test_a_paused_stream_is_left_out_with_what_cannot_be_read_without_it(places: Places, tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(STARS)
    create(places, "sales", "refunds", "others")
    await pause(str(module), "refunds", "rebuilt")
    report = await replicate(ReplicateRequest(pipeline=str(module)))
    rows = told(report)
    assert {name: status for name, (status, _) in rows.items()} == {
        "others": "loaded",
        "listed": "loaded",
        "refunds": "paused",
        "sales": "paused",
    }
    assert rows["refunds"][1].startswith("paused since 20")
    assert f"(rebuilt): millrace resume {module} refunds" in rows["refunds"][1]
    assert rows["sales"][1].startswith("model joined also needs refunds, which is paused since ")
    assert places.warehouse("SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop_source'") == [
        ("others",)
    ]


async def test_a_run_of_paused_streams_alone_does_nothing_and_is_done(places: Places, tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(STARS)
    create(places, "sales", "refunds", "others")
    for name in ("sales", "refunds", "others"):
        await pause(str(module), name)
    for asked in ({}, {"streams": ["sales"]}, {"mode": "sweep"}, {"dry_run": True}):
        report = await replicate(ReplicateRequest.model_validate({"pipeline": str(module), **asked}))
        assert {status for status, _ in told(report).values()} <= {"paused"}
        assert {(plan.is_paused, plan.query) for plan in report.plans if plan.reads != "model"} <= {(True, "")}


def invoke(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(application, arguments)
    return done.exit_code, done.stdout, done.stderr


def test_the_commands_of_a_stream(places: Places, own_pipeline: OwnPipeline) -> None:
    create(places, "orders")
    pipeline = own_pipeline("orders", "id")
    code, _, said = invoke("reset", pipeline, "orders", "--to-beginning")
    assert code == 2
    assert "it was never loaded" in said
    assert asyncio.run(replicate(ReplicateRequest(pipeline=pipeline))).streams[0].status == "loaded"
    code, out, _ = invoke("pause", pipeline, "orders", "--reason", "moved", "--json")
    assert code == 0
    assert {"stream": "orders", "reason": "moved"}.items() <= json.loads(out).items()
    assert "@" in json.loads(out)["by"]
    code, out, _ = invoke("run", pipeline)
    assert (code, "orders: paused since" in out) == (0, True)
    code, out, _ = invoke("plan", pipeline)
    assert (code, "paused since" in out, "refused" in out) == (0, True, False)
    assert invoke("resume", pipeline, "orders")[:2] == (0, "orders: the next run reads it again\n")
    assert json.loads(invoke("resume", pipeline, "orders", "--json")[1]) == {"stream": "orders", "was_paused": False}
    code, out, _ = invoke("reset", pipeline, "orders", "--to", "2026-01-01")
    assert (code, out.startswith("orders: the next run reads from 2026-01-01T00:00:00+00:00 (it was 20")) == (0, True)
    code, _, said = invoke("reset", pipeline, "orders", "--to", "2026-02-01T00:00:00+0100")
    assert code == 2
    assert "rows of orders from 2026-01-01T00:00:00+00:00 to 2026-01-31T23:00:00+00:00 are not" in said
    assert "add --yes if that is what you want; nothing was changed" in said
    code, out, _ = invoke("reset", pipeline, "orders", "--to", "2026-02-01", "--yes", "--json")
    assert json.loads(out)["former"] == "2026-01-01T00:00:00+00:00"
    code, out, _ = invoke("reset", pipeline, "orders", "--to-beginning")
    assert out == "orders: the next run reads from the beginning (it was 2026-02-01T00:00:00+00:00)\n"


def test_rename_asks_before_a_table_gets_another_name(places: Places, own_pipeline: OwnPipeline) -> None:
    create(places, "orders")
    pipeline = own_pipeline("orders", "id")
    assert invoke("run", pipeline)[0] == 0
    path = Path(pipeline.rpartition(":")[0])
    path.write_text(path.read_text().replace("Stream('orders'", "Stream('sales'"))
    code, _, said = invoke("run", pipeline)
    assert (code, f"run `millrace rename {pipeline} orders sales`" in said) == (2, True)
    code, _, said = invoke("rename", pipeline, "orders", "sales")
    assert code == 2
    assert "table shop.orders will be shop.sales, and queries by its former name will fail" in said
    code, out, _ = invoke("rename", pipeline, "orders", "sales", "--yes")
    assert (code, out) == (0, "orders is sales now; its target is shop.sales\n")
    assert invoke("run", pipeline)[0] == 0
    assert places.warehouse("SELECT id FROM shop.sales") == [(1,)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pause", "stori", "nope"), "there is no stream 'nope'. Remedy: choose from transactions, trades"),
        (("resume", "stori", "nope"), "there is no stream 'nope'"),
        (("pause", "nope", "trades"), "there is no pipeline 'nope'"),
        (("reset", "stori", "trades"), "give one of --to, --to-number and --to-beginning"),
        (
            ("reset", "stori", "trades", "--to", "2026-01-01", "--to-beginning"),
            "give one of --to, --to-number and --to-beginning",
        ),
        (("reset", "stori", "trades", "--to", "4711"), "Invalid value for '--to'"),
        (("reset", "stori", "trades", "--to", "2199-01-01"), "lies in the future"),
        (("rename", "stori", "old", "nope"), "there is no stream 'nope'"),
        (("rename", "stori", "old", "trades"), "no stream old was ever loaded"),
        (("reset", "totesys", "staff", "--to-beginning"), "its capture is Snapshot"),
    ],
)
def test_a_wrong_request_changes_nothing(places: Places, arguments: tuple[str, ...], message: str) -> None:
    code, out, said = invoke(*arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(said.replace("│", " ").split())
    assert places.everything() == {}
