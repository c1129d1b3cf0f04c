"""A bad row of a model stops nothing: it is rejected with its reason, found by the key of the source's row, replayed;
and too many of them stop the run, as a stream's do."""

from __future__ import annotations

from dataclasses import replace

import dataframely as dy
import orjson
import polars as pl
import pytest

from millrace import History, Incremental, Model, Pipeline, Snapshot, Stream
from millrace.base.errors import TooManyRejects
from millrace.declaration.consent import Consent
from millrace.runs.choose import ReadRequest
from millrace.runs.quarantine import read_open_rejects, read_refused_rejects
from millrace.runs.reload import find_applied_groups, reload_model
from tests.support.engine import Together
from tests.support.shop import NO_OVERLAP

SALES = Stream("sales", "postgres:public.sales", "sale", Incremental("changed", overlap=NO_OVERLAP), sweep="every run")


class Net(dy.Schema):
    """A sale, whose price is known and not negative."""

    id = dy.Int64(nullable=False)
    price = dy.Int32(nullable=False)
    note = dy.String(nullable=True)

    @dy.rule()
    def price_is_not_negative(cls) -> pl.Expr:
        return pl.col("price") >= 0


def net(sales: pl.DataFrame) -> pl.DataFrame:
    return sales.select("price", id=pl.col("sale"), note=pl.col("note") + pl.col("note"))


def of_net(net: pl.DataFrame) -> pl.DataFrame:
    return net


NET = Model(net, Net, "id", root_key={"id": "sale"})


def pipeline(*models: Model, stream: Stream = SALES) -> Pipeline:
    return Pipeline("market", [stream], schema="market_source", models=models or [NET])


def fill(together: Together, rows: str = "(1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c')") -> None:
    together.engine.source(
        "CREATE TABLE sales (sale bigint PRIMARY KEY, price int, note text, "
        f"changed timestamptz DEFAULT clock_timestamp()); INSERT INTO sales VALUES {rows}"
    )


def prices(together: Together, model: str = "net") -> list[tuple[int, int]]:
    rows = together.engine.query(f'SELECT id, price FROM market.{model} WHERE "_deleted_at" IS NULL ORDER BY id')
    return [(identity, price) for identity, price in rows]


def rejects(together: Together, own: Pipeline, model: str = "net") -> list[tuple[str, str, dict[str, int]]]:
    _, rows = read_open_rejects(together.engine.warehouse, together.processed, own, own.find(model))
    return [(row["reason"], row["field"], orjson.loads(row["coordinates"])) for row in rows.to_dicts()]


async def test_a_bad_row_is_rejected_and_its_former_version_stays(together: Together) -> None:
    own = pipeline()
    fill(together)
    await together.run(own)
    together.engine.source(
        "UPDATE sales SET price = NULL, changed = clock_timestamp() WHERE sale = 1; "
        "UPDATE sales SET price = -1, changed = clock_timestamp() WHERE sale = 2; "
        "UPDATE sales SET price = 33, changed = clock_timestamp() WHERE sale = 3; INSERT INTO sales VALUES (4, 40)"
    )
    result = (await together.run(own))["net"]
    assert (result.rejected, result.updated, result.inserted) == (2, 1, 1)
    assert prices(together) == [(1, 10), (2, 20), (3, 33), (4, 40)]
    assert sorted(rejects(together, own), key=repr) == [
        ("contract_nullability", "price", {"sale": 1}),
        ("contract_price_is_not_negative", "", {"sale": 2}),
    ]
    together.engine.source("UPDATE sales SET price = 11 WHERE sale = 1; DELETE FROM sales WHERE sale = 2")
    replayed = await together.run(own, read_request=ReadRequest("replay"))
    assert (replayed["net"].updated, replayed["net"].rejected) == (1, 0)
    assert rejects(together, own) == []
    assert prices(together) == [(1, 11), (2, 20), (3, 33), (4, 40)], "a replay takes nothing out"
    await together.run(own)
    assert prices(together) == [(1, 11), (3, 33), (4, 40)]
    engine, groups = together.engine, find_applied_groups(together.engine.warehouse, own, NET)
    reload_model(own, NET, groups, engine.store, together.processed, engine.warehouse)
    assert rejects(together, own) == [], "a reload closes what was closed"
    assert prices(together) == [(1, 11), (3, 33), (4, 40)]


class Priced(dy.Schema):
    """Sales by their price."""

    price = dy.Int32(nullable=True)
    id = dy.Int64(nullable=False)


def by_price(of_net: pl.DataFrame) -> pl.DataFrame:
    return of_net.select("price", "id")


OF_NET = (Model(of_net, Net, "id", root_key={"id": "sale"}), Model(by_price, Priced, "price", root_key={"id": "sale"}))


async def test_rows_of_models_of_a_model_stay_while_it_rejects_theirs(together: Together) -> None:
    """By the root's key and by another one; what is right beside them changes."""
    own = pipeline(NET, *OF_NET)
    fill(together)
    await together.run(own)
    together.engine.source("UPDATE sales SET price = NULL WHERE sale = 1; UPDATE sales SET price = 21 WHERE sale = 2")
    await together.run(own)
    for model in ("net", "of_net", "by_price"):
        assert prices(together, model) == [(1, 10), (2, 21), (3, 30)]
    together.engine.source("UPDATE sales SET price = 11 WHERE sale = 1")
    await together.run(own, read_request=ReadRequest("replay"))
    for model in ("net", "of_net", "by_price"):
        assert prices(together, model) == [(1, 11), (2, 21), (3, 30)]


async def test_nothing_leaves_a_model_of_rows_whose_source_rows_are_not_known(on_redshift: Together) -> None:
    """The model between keeps its rows, and rejected one: any of the others may have been made of it."""
    own = pipeline(replace(NET, deletes="ignore", root_key={}), *OF_NET)
    fill(on_redshift)
    await on_redshift.run(own)
    on_redshift.engine.source(
        "UPDATE sales SET price = NULL WHERE sale = 1; UPDATE sales SET price = 21 WHERE sale = 2"
    )
    await on_redshift.run(own)
    assert prices(on_redshift, "of_net") == [(1, 10), (2, 21), (3, 30)]


async def test_a_replay_of_what_is_still_bad_stays_open(on_redshift: Together) -> None:
    own = pipeline()
    fill(on_redshift, "(1, NULL, 'a'), (2, 20, 'b')")
    await on_redshift.run(own)
    await on_redshift.run(own, read_request=ReadRequest("replay"))
    assert rejects(on_redshift, own) == [("contract_nullability", "price", {"sale": 1})]


async def test_a_read_of_everything_closes_what_is_right_by_now(on_redshift: Together) -> None:
    own = pipeline()
    fill(on_redshift, "(1, NULL, 'a'), (2, 20, 'b')")
    await on_redshift.run(own)
    on_redshift.engine.source("UPDATE sales SET price = 5")
    await on_redshift.run(own, read_request=ReadRequest("full"))
    assert rejects(on_redshift, own) == []
    assert prices(on_redshift) == [(1, 5), (2, 5)]


async def test_too_many_bad_rows_stop_the_run_until_a_person_lets_them_through(on_redshift: Together) -> None:
    own = pipeline(replace(NET, max_rejects=1))
    fill(on_redshift, "(1, NULL, 'a'), (2, NULL, 'b'), (3, 30, 'c')")
    with pytest.raises(TooManyRejects) as failure:
        await on_redshift.run(own)
    assert "model market.net: 2 of 3 rows were rejected, 1 are allowed: 2 contract_nullability of price" in str(
        failure.value
    )
    assert "millrace rejects market --stream net" in str(failure.value)
    assert read_refused_rejects(on_redshift.engine.warehouse, on_redshift.processed, own, own.find("net")).height == 2
    await on_redshift.run(own, read_request=ReadRequest(consent=Consent(accept_rejects=True)))
    assert prices(on_redshift) == [(3, 30)]
    assert read_refused_rejects(on_redshift.engine.warehouse, on_redshift.processed, own, own.find("net")).height == 0
    assert len(rejects(on_redshift, own)) == 2


async def test_a_model_of_a_snapshot_takes_nothing_out_while_a_row_is_bad(on_redshift: Together) -> None:
    """And what is computed from it waits for the row."""
    own = pipeline(
        replace(NET, root_key={}), Model(of_net, Net, "id"), stream=replace(SALES, capture=Snapshot(), sweep="")
    )
    fill(on_redshift)
    await on_redshift.run(own)
    on_redshift.engine.source("UPDATE sales SET price = NULL WHERE sale = 1; DELETE FROM sales WHERE sale = 2")
    results = await on_redshift.run(own)
    assert results["net"].warnings == ("it rejected rows: of_net is computed from it, and stays as it was",)
    assert "of_net" not in results
    assert prices(on_redshift) == prices(on_redshift, "of_net") == [(1, 10), (2, 20), (3, 30)]
    on_redshift.engine.source("UPDATE sales SET price = 11 WHERE sale = 1")
    await on_redshift.run(own)
    assert prices(on_redshift) == prices(on_redshift, "of_net") == [(1, 11), (3, 30)]
    assert rejects(on_redshift, own) == []


async def test_a_text_that_the_warehouse_cannot_hold_is_a_bad_row(on_redshift: Together) -> None:
    own = pipeline()
    fill(on_redshift, "(1, 1, repeat('x', 40000)), (2, 20, 'b')")
    await on_redshift.run(own)
    assert prices(on_redshift) == [(2, 20)]
    assert rejects(on_redshift, own) == [("too_long", "note", {"sale": 1})]


class Noted(dy.Schema):
    """Sales by their note, which some lack."""

    note = dy.String(nullable=True)
    id = dy.Int64(nullable=True)


def noted(sales: pl.DataFrame) -> pl.DataFrame:
    return sales.select("note", id="sale")


async def test_a_row_without_a_key_is_a_bad_row(on_redshift: Together) -> None:
    own = pipeline(Model(noted, Noted, "note", root_key={"id": "sale"}))
    fill(on_redshift, "(1, 1, NULL), (2, 20, 'b')")
    await on_redshift.run(own)
    assert on_redshift.engine.query("SELECT note, id FROM market.noted") == [("b", 2)]
    assert rejects(on_redshift, own, "noted") == [("no_key", "note", {"sale": 1})]


async def test_a_key_beyond_record_ids_is_a_bad_row(together: Together) -> None:
    own = pipeline(replace(NET, load=History("record")))
    fill(together, "(1541815603606036480, 1, ''), (922337203685476, 2, ''), (-922337203685478, 3, '')")
    await together.run(own)
    assert prices(together) == [(922337203685476, 2)]
    assert [one[0] for one in rejects(together, own)] == ["beyond_record_ids"] * 2
