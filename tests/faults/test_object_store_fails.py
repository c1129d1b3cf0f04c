"""S3 that throttles, fails, hangs or does what it is told and does not say so: the run ends well or fails cleanly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from millrace.base.errors import Unreachable
from tests.faults.judge import Judge
from tests.faults.places import Places
from tests.faults.s3_proxy import S3Proxy
from tests.faults.subjects import Table

ATTEMPTS = 2
"""Of the client for one request, by its own setting, so that its growing pauses stay short."""


KEYS = ("part-00000.parquet", "batch.json", "copy-millrace_stage-000.manifest")


@pytest.fixture
def s3(places: Places, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    """What stands between the engine and S3. The stand-in for Redshift has its own way there."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", str(ATTEMPTS))
    with S3Proxy(places.aws_url) as proxy:
        yield proxy


@pytest.mark.parametrize("fault", ["error_500", "slow_down", "hang", "stored_then_500", "stored_then_lost"])
async def test_a_put_that_fails_once_is_made_again(
    places: Places, table: Table, judge: Judge, s3: S3Proxy, fault: str
) -> None:
    """Each put of a run. Where the first try did store the object, the second knows it for its own."""
    engine = replace(places, aws_url=s3.url).engine()
    for key in KEYS:
        s3.fail("PUT", fault, key=key)
    await engine.deliver(table.stream)
    assert s3.struck == len(KEYS)
    judge.check()


@pytest.mark.parametrize("fault", ["error_500", "stored_then_500", "stored_then_lost"])
async def test_a_lease_or_state_whose_write_fails_once_is_written_once(
    places: Places, table: Table, judge: Judge, s3: S3Proxy, fault: str
) -> None:
    """Where the first try did replace the object, the second meets another version, and knows it for its own."""
    kept = replace(places, kept_in="lake")
    await kept.engine().deliver(table.stream)
    engine = replace(kept, aws_url=s3.url).engine()
    for number, key in enumerate(("lease.json", "state.json"), start=1):
        table.change()
        s3.fail("PUT", fault, key=key)
        await engine.deliver(table.stream)
        assert s3.struck == number
        judge.check()
    asleep = replace(engine, connect_warehouse=None).with_leases_in("lake")
    assert await asleep.deliver(table.stream) is None, "the lake knows all that was loaded"


@pytest.mark.parametrize("fault", ["slow_down", "hang", "stored_then_lost"])
async def test_a_put_that_keeps_failing_ends_the_run_and_the_next_is_right(
    places: Places, table: Table, judge: Judge, s3: S3Proxy, fault: str
) -> None:
    engine = replace(places, aws_url=s3.url).engine()
    for key in KEYS:
        table.change()
        s3.fail("PUT", fault, ATTEMPTS, key=key)
        with pytest.raises(Unreachable, match="s3://"):
            await engine.deliver(table.stream)
        judge.check_lake()
        await engine.deliver(table.stream)
        judge.check()


@pytest.mark.parametrize("fault", ["slow_down", "hang", "half", "slow"])
async def test_a_get_that_fails_once_is_made_again(
    postgres_places: Places, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The rows of a Postgres warehouse come through the client."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", str(ATTEMPTS))
    table = Table(postgres_places)
    with S3Proxy(postgres_places.aws_url) as s3:
        s3.fail("GET", fault, key=KEYS[0])
        await replace(postgres_places, aws_url=s3.url).engine().deliver(table.stream)
        assert s3.struck == 1
    Judge(postgres_places, table).check()


async def test_a_get_that_keeps_breaking_off_loads_nothing(
    postgres_places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", str(ATTEMPTS))
    table = Table(postgres_places)
    with S3Proxy(postgres_places.aws_url) as s3:
        engine = replace(postgres_places, aws_url=s3.url).engine()
        s3.fail("GET", "half", 20, key=KEYS[0])
        with pytest.raises(Unreachable, match="s3://"):
            await engine.deliver(table.stream)
        s3.heal()
        await engine.deliver(table.stream)
    Judge(postgres_places, table).check()


async def test_an_endpoint_that_is_gone_fails_cleanly(places: Places, table: Table, judge: Judge, s3: S3Proxy) -> None:
    await places.engine().deliver(table.stream)
    table.change()
    s3.__exit__(None, None, None)
    with pytest.raises(Unreachable, match="s3://"):
        await replace(places, aws_url=s3.url).engine().deliver(table.stream)
    await places.engine().deliver(table.stream)
    judge.check()
