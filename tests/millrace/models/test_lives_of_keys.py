"""`Scd2` over random lives of keys: changed, moved back, without a time, deleted and there again; however declared."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from millrace import Incremental, Model, Pipeline, Scd2, Stream
from millrace.lake.batch import Batch
from tests.support.engine import Together

RUNS = 6
CODES = "abcd"


class Rate(dy.Schema):
    """Of a code, since a time."""

    code = dy.String(nullable=False)
    price = dy.Int32(nullable=True)
    since = dy.Datetime(nullable=True)


def rate(prices: pl.DataFrame) -> pl.DataFrame:
    """As they are."""
    return prices.select("code", "price", "since")


def rates(load: Scd2) -> Pipeline:
    """Read by a cursor, and swept at every run."""
    capture = Incremental("changed_at", timedelta(0))
    stream = Stream("prices", "postgres:public.prices", "code", capture, sweep="every run", max_delete_share=1.0)
    return Pipeline("rates", streams=[stream], schema="rates_source", models=[Model(rate, Rate, "code", load=load)])


def load_of(random: Random, *, is_log: bool) -> Scd2:
    """Any declaration."""
    return Scd2(
        "rate_key",
        effective_from="since",
        changes=is_log,
        gap=random.choice([timedelta(0), timedelta(microseconds=1), timedelta(days=9)]),
        open_end=random.choice([None, Scd2("rate_key").open_end]),
        from_beginning=random.random() < 0.5,
        deletes_as_versions=random.random() < 0.5,
    )


def live(together: Together, random: Random) -> None:
    """Something happens to some of the keys."""
    for code in random.sample(CODES, random.randint(1, len(CODES))):
        day, hour = random.randint(1, 9), random.choice([0, 12])
        since = random.choice(["NULL", f"'2024-03-{day:02} {hour:02}:00'", f"'2999-03-{day:02}'", "now()::timestamp"])
        price = random.randint(1, 3)
        change = f"price = {price}" if random.random() < 0.3 else f"price = {price}, since = {since}"
        put = f"INSERT INTO prices VALUES ('{code}', {price}, {since}) ON CONFLICT (code) DO UPDATE SET {change}"
        gone = f"DELETE FROM prices WHERE code = '{code}'"
        together.engine.source(random.choice([gone, put, f"{put}, changed_at = clock_timestamp()"]))


def held(together: Together) -> list[tuple[Any, ...]]:
    """All that does not depend on the moment of a load."""
    columns = "code, start_date, end_date, is_current, rate_key, price, _deleted_at, _row_hash, _version_hash"
    return together.engine.query(f"SELECT {columns} FROM rates.rate ORDER BY code, start_date")


def check(together: Together, *, is_log: bool) -> None:
    """Living keys have one current version (of states: as the source has the key now), others none; of no key two
    versions are valid at one moment."""
    alive = together.engine.source("SELECT code, price FROM prices ORDER BY code")
    found = held(together)
    current = [(row[0], row[5]) for row in found if row[3]]
    assert [code for code, _ in current] == [code for code, _ in alive]
    assert is_log or current == alive
    assert len({row[4] for row in found}) == len(found)
    valid = defaultdict(list)
    for code, *times in together.engine.query(
        "SELECT code, valid_from, valid_until FROM rates.rate_at ORDER BY code, valid_from"
    ):
        valid[code].append(times)
    for times in valid.values():
        assert all(until is not None and until <= since for (_, until), (since, _) in pairwise(times))
        assert all(until is None or until > since for since, until in times)


@pytest.mark.parametrize("is_log", [False, True], ids=["states", "log"])
@pytest.mark.parametrize("seed", range(2))
async def test_any_life_of_keys_gives_versions_that_a_reload_gives_again(
    together: Together, seed: int, is_log: bool
) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    pipeline = rates(load_of(random, is_log=is_log))
    together.engine.source(
        "CREATE TABLE prices (code text PRIMARY KEY, price int, since timestamp, "
        "changed_at timestamptz DEFAULT clock_timestamp())"
    )
    landed: list[list[Batch]] = []
    for _ in range(RUNS):
        live(together, random)
        if batches := await together.read(pipeline):
            landed.append(together.transform(pipeline, batches))
            together.load(pipeline, landed[-1])
            together.engine.warehouse.make_views(pipeline, "")
            check(together, is_log=is_log)
    before = held(together)
    together.engine.query("DROP SCHEMA rates CASCADE; DROP SCHEMA rates_source CASCADE; DROP SCHEMA millrace CASCADE")
    for batches in landed:
        together.load(pipeline, batches)
    assert held(together) == before
