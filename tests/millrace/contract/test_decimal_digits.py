"""Decimals at the edge of what eight bytes hold: Redshift keeps up to 19 digits there, and 19 nines overflow."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from millrace import Incremental, Stream
from millrace.base.errors import SchemaConflict
from tests.support.engine import Engine

NUMBERS = Stream(
    "numbers", source="postgres:public.numbers", key="id", capture=Incremental("changed", overlap=timedelta(0))
)


def fill(engine: Engine, precision: int, scale: int) -> list[Decimal]:
    """The greatest and the least number of so many digits, and what eight bytes just hold and do not."""
    units = {10**precision - 1, 1 - 10**precision, 2**63 - 1, 2**63}
    numbers = sorted(Decimal(f"{unit}E-{scale}") for unit in units if abs(unit) < 10**precision)
    rows = ", ".join(f"({number}, {value}, clock_timestamp())" for number, value in enumerate(numbers))
    engine.source(
        f"CREATE TABLE numbers (id int PRIMARY KEY, n numeric({precision},{scale}), changed timestamptz); "
        f"INSERT INTO numbers VALUES {rows}"
    )
    return numbers


@pytest.mark.parametrize("scale", [0, 4])
@pytest.mark.parametrize("precision", [18, 19, 20, 37, 38])
async def test_every_number_of_a_precision_arrives(either: Engine, precision: int, scale: int) -> None:
    numbers = fill(either, precision, scale)
    await either.deliver(NUMBERS)
    assert either.rows("numbers", "n", order="id") == [(number,) for number in numbers]
    result = await either.sweep(NUMBERS)
    assert result is not None
    assert (result.unchanged, result.changes) == (len(numbers), ())


async def made_before(engine: Engine) -> None:
    """A target as it was made for such a column, with a row."""
    engine.source("CREATE TABLE numbers (id int PRIMARY KEY, n numeric(18,4), changed timestamptz)")
    engine.source("INSERT INTO numbers VALUES (100, 1.5, clock_timestamp())")
    await engine.deliver(NUMBERS)
    engine.query(
        "ALTER TABLE engine.numbers ADD COLUMN o NUMERIC(19,4); UPDATE engine.numbers SET o = n; "
        "ALTER TABLE engine.numbers DROP COLUMN n; ALTER TABLE engine.numbers RENAME COLUMN o TO n"
    )
    engine.source(
        "ALTER TABLE numbers ALTER COLUMN n TYPE numeric(19,4); "
        "INSERT INTO numbers VALUES (1, 999999999999999.9999, clock_timestamp()), (2, 2.5, clock_timestamp())"
    )


async def test_a_target_of_nineteen_digits_that_was_made_before_is_widened(engine: Engine) -> None:
    await made_before(engine)
    result = await engine.deliver(NUMBERS)
    assert result is not None
    assert (result.inserted, result.rejected, len(result.changes)) == (2, 0, 1)
    assert engine.rows("numbers", "id", "n") == [
        (1, Decimal("999999999999999.9999")),
        (2, Decimal("2.5")),
        (100, Decimal("1.5")),
    ]
    result = await engine.sweep(NUMBERS)
    assert result is not None
    assert (result.unchanged, result.changes) == (3, ())


async def test_a_target_of_nineteen_digits_that_may_not_change_rejects_what_overflows(engine: Engine) -> None:
    await made_before(engine)
    result = await engine.deliver(replace(NUMBERS, schema_policy="quarantine"))
    assert result is not None
    assert (result.inserted, result.rejected) == (1, 1)
    assert [one["field"] for one in engine.rejects()] == ["n"]


async def test_a_frozen_target_of_nineteen_digits_is_refused_with_the_remedy(engine: Engine) -> None:
    await made_before(engine)
    with pytest.raises(SchemaConflict, match="schema_policy='evolve'"):
        await engine.deliver(replace(NUMBERS, schema_policy="freeze"))
