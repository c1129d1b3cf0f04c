"""The star of `totesys` on the engine: it follows the source, and a second computation in SQL agrees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.stack import Stack
from millrace.pipelines.totesys import pipeline
from tests.support.engine import Together
from tests.support.office import Office, open_office


@pytest.fixture
def office(stack: Stack, on_redshift: Together) -> Iterator[Office]:
    with open_office(stack.postgres, stack.warehouse.url) as office:
        on_redshift.engine.postgres_url = office.reader_url
        yield office


async def test_the_star_follows_the_source_and_a_second_computation_agrees(
    office: Office, on_redshift: Together
) -> None:
    first = await on_redshift.run(pipeline)
    assert first.keys() == {member.name for member in pipeline.members}
    assert office.compare().differences == 0
    for hours in (9, 13, 18, 42):
        office.live(hours=hours)
        done = await on_redshift.run(pipeline)
    assert (done["payment"].kind, done["design"].kind) == ("sweep", "snapshot")
    compared = office.compare()
    assert compared.differences == 0
    found = dict(
        office.warehouse(
            "SELECT stream, sum(rows_silent)::int FROM millrace.batches WHERE rows_silent > 0 GROUP BY stream"
        )
    )
    assert found == {name: count for name, count in compared.silent.items() if count}
    assert found["sales_order"] > 0
    assert found["design"] > 0
    assert office.warehouse("SELECT count(*) FROM totesys.fact_sales_order WHERE _version > 1")[0][0] > 0
    before = office.everything()
    assert sum(one.loaded for one in (await on_redshift.run(pipeline)).values()) == 0
    assert office.everything() == before


async def test_the_comparison_finds_what_is_wrong(office: Office, on_redshift: Together) -> None:
    await on_redshift.run(pipeline)
    office.warehouse("UPDATE totesys.dim_design SET file_name = 'other' WHERE design_id = 1")
    office.warehouse("DELETE FROM totesys.fact_payment WHERE payment_id = 1")
    office.warehouse("DELETE FROM totesys.dim_staff WHERE staff_id = 1")
    compared = office.compare()
    wrong = {one.table: (one.missing, one.extra) for one in compared.tables if one.missing or one.extra}
    assert wrong == {"dim_design": (1, 1), "fact_payment": (1, 0), "dim_staff": (1, 0)}
    assert compared.orphans > 0


async def test_an_edited_address_or_department_reaches_every_dimension_row(
    office: Office, on_redshift: Together
) -> None:
    await on_redshift.run(pipeline)
    office.change(
        "UPDATE address SET city = 'Elsewhere' WHERE address_id = (SELECT min(legal_address_id) FROM counterparty)"
    )
    office.change(
        "UPDATE department SET location = 'Leds' WHERE department_id = (SELECT min(department_id) FROM staff)"
    )
    done = await on_redshift.run(pipeline)
    moved = office.warehouse(
        "SELECT count(*) FROM totesys.dim_counterparty WHERE counterparty_legal_city = 'Elsewhere'"
    )
    assert moved[0][0] == done["dim_counterparty"].updated > 0
    assert done["dim_location"].updated == 1
    assert done["dim_staff"].updated > 0
    assert office.compare().differences == 0


async def test_damage_in_the_replica_is_mended_and_makes_no_version(office: Office, on_redshift: Together) -> None:
    await on_redshift.run(pipeline)
    versions = office.warehouse("SELECT count(*) FROM totesys.fact_sales_order")
    office.warehouse("DELETE FROM totesys_source.sales_order WHERE sales_order_id <= 5")
    done = await on_redshift.run(pipeline)
    assert done["sales_order"].inserted == 5
    assert done["fact_sales_order"].unchanged == 5
    assert office.warehouse("SELECT count(*) FROM totesys.fact_sales_order") == versions
