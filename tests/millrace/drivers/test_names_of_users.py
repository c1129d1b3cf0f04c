"""Names of a user's tables and columns are never taken for those that the engine's SQL gives to its own.

A name of a user has no ``$``; every alias and helper column that could meet one has (millrace/warehouse/statements.py).
"""

from __future__ import annotations

from datetime import timedelta

import dataframely as dy
import polars as pl
import pytest

from millrace import Append, Bind, History, Incremental, Merge, Model, Pipeline, Scd2, Stream
from millrace.declaration.load_mode_base import LoadMode
from tests.support.engine import Engine, Together

ALIASES = ("d", "n", "b", "s", "t", "c", "timeline")
HELPERS = ("version", "since", "gone", "starts", "next_start", "ends", "is_last", "at", "one", "is_new", "ordinal")
OURS = ("_start", "_is_new", "_exists", "_ordinal", "_begins", "_island", "_arrived", "_held_hash", "_was_scanned")
LOADS: dict[str, LoadMode] = {"merge": Merge(), "scd2": Scd2("surrogate"), "history": History("record_id")}
NO_OVERLAP = timedelta(0)
SOURCE = "changed timestamptz DEFAULT clock_timestamp()"


class Row(dy.Schema):
    """A number with a value."""

    id = dy.Int32(nullable=False)
    v = dy.Int32(nullable=True)


class Version(dy.Schema):
    """By columns that are called as ours were."""

    version = dy.Int32(nullable=False)
    since = dy.Int32(nullable=False)
    gone = dy.Int32(nullable=False)
    starts = dy.Int32(nullable=False)
    v = dy.Int32(nullable=True)


class Fact(dy.Schema):
    """Of a version."""

    version = dy.Int32(nullable=False)
    since = dy.Int32(nullable=False)
    gone = dy.Int32(nullable=False)
    starts = dy.Int32(nullable=False)
    at = dy.Datetime(time_zone="UTC", nullable=False)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("name", ALIASES)
async def test_a_table_may_be_called_as_an_alias(on_redshift: Together, name: str, load: str) -> None:
    rows = Stream("rows", "postgres:public.rows", "id", Incremental("changed", NO_OVERLAP), sweep="every run")

    def made(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select("id", "v")

    made.__name__ = name
    pipeline = Pipeline("named", [rows], schema="named_source", models=[Model(made, Row, "id", load=LOADS[load])])
    on_redshift.engine.source(
        f"CREATE TABLE rows (id int PRIMARY KEY, v int, {SOURCE}); INSERT INTO rows VALUES (1, 1), (2, 2)"
    )
    await on_redshift.run(pipeline)
    on_redshift.engine.source(
        "UPDATE rows SET v = 10, changed = clock_timestamp() WHERE id = 1; DELETE FROM rows WHERE id = 2"
    )
    result = (await on_redshift.run(pipeline))[name]
    assert (result.updated, result.deleted) == (1, 1)
    assert on_redshift.engine.query(f'SELECT max(v) FROM named."{name}" WHERE id = 1') == [(10,)]


@pytest.mark.parametrize("load", ["merge", "scd2"])
async def test_columns_may_be_called_as_helpers(either: Engine, load: str) -> None:
    """Those of the key and those of values."""
    keys, held = HELPERS, OURS
    columns = ", ".join([*(f"{name} int" for name in (*keys, *held)), SOURCE, f"PRIMARY KEY ({', '.join(keys)})"])
    either.source(f"CREATE TABLE odd ({columns})")
    for number in (1, 2, 3):
        either.source(f"INSERT INTO odd VALUES ({', '.join([str(number)] * len((*keys, *held)))})")
    stream = Stream("odd", "postgres:public.odd", keys, Incremental("changed", NO_OVERLAP), load=LOADS[load])
    await either.deliver(stream)
    either.source("UPDATE odd SET _start = 20, changed = clock_timestamp() WHERE version = 2")
    result = await either.deliver(stream)
    assert result is not None
    assert result.updated == 1
    either.source("UPDATE odd SET _exists = 30 WHERE version = 1; DELETE FROM odd WHERE version = 3")
    swept = await either.sweep(stream)
    assert swept is not None
    assert (swept.updated, swept.deleted, swept.unchanged) == (1, 1, 1)


@pytest.mark.parametrize(("dimension", "fact"), [("n", "b"), ("d", "f"), ("v", "c")])
async def test_a_fact_is_bound_by_columns_that_are_called_as_helpers(
    together: Together, dimension: str, fact: str
) -> None:
    keys = ("version", "since", "gone", "starts")
    lookup = Stream("lookup", "postgres:public.lookup", keys, Incremental("changed", NO_OVERLAP))
    facts = Stream("facts", "postgres:public.facts", "version", Incremental("changed", NO_OVERLAP), load=Append())

    def of_lookup(lookup: pl.DataFrame) -> pl.DataFrame:
        return lookup.select(*keys, "v")

    def of_facts(facts: pl.DataFrame) -> pl.DataFrame:
        return facts.select(*keys, at="changed")

    of_lookup.__name__, of_facts.__name__ = dimension, fact
    bound = Bind("lookup_key", dimension, by=keys, at="at")
    models = [
        Model(of_lookup, Version, keys, load=Scd2("lookup_key")),
        Model(of_facts, Fact, "version", load=Append(), binds=[bound]),
    ]
    pipeline = Pipeline("named", [lookup, facts], schema="named_source", models=models)
    together.engine.source(
        f"CREATE TABLE lookup (version int, since int, gone int, starts int, v int, {SOURCE}, "
        f"PRIMARY KEY ({', '.join(keys)})); "
        f"CREATE TABLE facts (version int PRIMARY KEY, since int, gone int, starts int, {SOURCE}); "
        "INSERT INTO lookup VALUES (1, 1, 1, 1, 7)"
    )
    await together.run(pipeline)
    together.engine.source("INSERT INTO facts VALUES (1, 1, 1, 1)")
    await together.run(pipeline)
    matches = f'SELECT count(*) FROM named."{fact}" AS x JOIN named."{dimension}" AS y ON x.lookup_key = y.lookup_key'
    assert together.engine.query(matches) == [(1,)]
