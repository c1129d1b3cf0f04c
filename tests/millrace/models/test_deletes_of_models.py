"""Keys that leave a source leave the tables of its models, however long they are."""

from __future__ import annotations

import dataframely as dy
import polars as pl
import pytest

from millrace import Incremental, Merge, Model, Pipeline, Scd2, Stream
from millrace.declaration.load_mode_base import LoadMode
from tests.support.engine import Together
from tests.support.shop import NO_OVERLAP

CODES = Stream(
    "codes",
    source="postgres:public.codes",
    key="code",
    capture=Incremental("changed", overlap=NO_OVERLAP),
    sweep="every run",
)
KEYS = ("a", "longer", "the longest of them: 東京")
LOADS: dict[str, tuple[LoadMode, str]] = {
    "merge": (Merge(), "_deleted_at IS NULL"),
    "scd2": (Scd2("surrogate"), "is_current"),
}
"""With what is true of the rows that are there."""


class Texts(dy.Schema):
    """By a text."""

    code = dy.String(nullable=False)
    v = dy.Int32(nullable=True)


def made(codes: pl.DataFrame) -> pl.DataFrame:
    """As they are."""
    return codes.select("code", "v")


@pytest.mark.parametrize("load", LOADS)
async def test_a_key_that_is_longer_than_those_that_stay_leaves_the_models(together: Together, load: str) -> None:
    mode, is_there = LOADS[load]
    pipeline = Pipeline("lengths", [CODES], schema="lengths_source", models=[Model(made, Texts, "code", load=mode)])
    rows = ", ".join(f"('{key}', {number})" for number, key in enumerate(KEYS))
    together.engine.source(
        f"CREATE TABLE codes (code text PRIMARY KEY, v int, changed timestamptz DEFAULT clock_timestamp()); "
        f"INSERT INTO codes (code, v) VALUES {rows}"
    )
    await together.run(pipeline)
    together.engine.source(f"DELETE FROM codes WHERE code = '{KEYS[1]}'")
    assert (await together.run(pipeline))["made"].deleted == 1
    together.engine.source(f"DELETE FROM codes WHERE code = '{KEYS[2]}'; UPDATE codes SET v = 7, changed = now()")
    assert (await together.run(pipeline))["made"].deleted == 1
    assert together.engine.query(f"SELECT v FROM lengths.made WHERE {is_there}") == [(7,)]
