"""Statements that Redshift refuses for the moment or for good: conflicts and failed copies, met by loads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from local.stack import Stack
from millrace import Incremental, Merge, Scd2, Stream
from millrace.base.errors import ConfigurationError, Conflict, FatalError, MillraceError, RetryableError
from tests.support.cluster import is_given
from tests.support.engine import Engine, counts
from tests.support.standin_faults import command, inject

NOTES = Stream("notes", "postgres:public.notes", "id", Incremental("changed", overlap=timedelta(0)))
CONFLICT = "could not complete because of conflict with concurrent transaction"
LOADS = pytest.mark.parametrize("load", [Merge(), Scd2("version_key")], ids=["Merge", "Scd2"])


@pytest.fixture
def changed(engine: Engine) -> Iterator[Engine]:
    """An engine with a target whose next load creates, locks, alters, deletes and inserts."""
    engine.source("CREATE TABLE notes (id int, v int, changed timestamptz DEFAULT clock_timestamp())")
    engine.source("INSERT INTO notes SELECT n, n FROM generate_series(1, 20) AS n")
    yield engine
    if not is_given():
        command(engine, "STANDIN RESET")


async def deliver_changes(engine: Engine) -> None:
    await engine.deliver(NOTES)
    engine.source(
        "ALTER TABLE notes ADD note varchar(5); UPDATE notes SET v = 0, changed = clock_timestamp() WHERE id < 5"
    )


@pytest.mark.standin
@pytest.mark.parametrize("text", ["1023", "1018", CONFLICT, "could not open relation with OID 12345"])
@pytest.mark.parametrize("statement", ["create", "lock", "insert", "delete", "alter", "commit", "copy"])
async def test_a_conflict_is_repeated(changed: Engine, statement: str, text: str) -> None:
    """All of them have the SQLSTATE XX000."""
    await deliver_changes(changed)
    batch = await changed.extract(NOTES)
    assert batch is not None
    inject(changed, statement, f"error:XX000:{text}")
    result = changed.load(NOTES, batch)
    assert counts(result)["updated"] == 4
    assert changed.query("SELECT count(*) FROM engine.notes") == [(20,)]


@pytest.mark.standin
@pytest.mark.parametrize(
    "text",
    [
        "S3ServiceException:Please reduce your request rate.,Error SlowDown,Rid X",
        "S3ServiceException:We encountered an internal error.,Status 500,Error InternalError",
        "S3 Query Exception (Fetch)",
        "S3Query Exception (Execute)",
        "S3Query Exception Connection failed, retries exceeded.",
        "error:  S3 could not be read  code:      15005  query:     17",
        "boost::thread_resource_error: Resource temporarily unavailable",
    ],
)
async def test_a_copy_that_failed_for_the_moment_may_be_repeated(changed: Engine, text: str) -> None:
    batch = await changed.extract(NOTES)
    assert batch is not None
    inject(changed, "copy", f"error:XX000:{text}")
    with pytest.raises(RetryableError, match=r"COPY failed: .*run again"):
        changed.load(NOTES, batch)
    changed.load(NOTES, batch)


@pytest.mark.standin
@pytest.mark.parametrize(
    ("text", "kind", "remedy"),
    [
        ("S3ServiceException:Please reduce your request rate.,Status 503,Error SlowDown", RetryableError, "run again"),
        ("S3ServiceException:Access Denied,Status 403,Error AccessDenied", ConfigurationError, "s3:PutObject"),
    ],
    ids=["slow", "denied"],
)
async def test_an_unload_that_failed_is_told_like_a_copy(
    changed: Engine, text: str, kind: type[MillraceError], remedy: str
) -> None:
    await changed.deliver(NOTES)
    inject(changed, "unload", f"error:XX000:{text}")
    with pytest.raises(kind, match=rf"UNLOAD failed: .*{remedy}"):
        await changed.sweep(NOTES, deep=True)
    await changed.sweep(NOTES, deep=True)


@pytest.mark.standin
@pytest.mark.parametrize("right", ["assume IAM Role", "get credentials of"])
async def test_a_role_that_is_not_associated_says_how(changed: Engine, right: str) -> None:
    inject(changed, "copy", f"error:XX000:User arn:aws:redshift:x is not authorized to {right} arn:aws:iam::1:role/r")
    with pytest.raises(ConfigurationError, match=r"modify-cluster-iam-roles.*update-namespace.*trust policy"):
        await changed.deliver(NOTES)


@pytest.mark.standin
@pytest.mark.parametrize(
    ("text", "kind", "remedy"),
    [
        ("S3ServiceException:Access Denied,Status 403,Error AccessDenied", ConfigurationError, "s3:GetObject"),
        ("S3ServiceException:no such key,Status 404,Error NoSuchKey", FatalError, "deletes or replaces objects"),
        ("Spectrum Scan Error HTTP response error code: 404 Message", FatalError, "deletes or replaces objects"),
        ("Spectrum Scan Error HTTP response error code: 416 Message", FatalError, "deletes or replaces objects"),
        ("Spectrum Scan Error incompatible Parquet schema", FatalError, "look at the file and column named"),
    ],
    ids=["denied", "no key", "404", "416", "schema"],
)
async def test_a_copy_that_fails_every_time_says_what_to_do(
    changed: Engine, text: str, kind: type[MillraceError], remedy: str
) -> None:
    inject(changed, "copy", f"error:XX000:{text}")
    with pytest.raises(kind, match=rf"COPY failed: .*{remedy}"):
        await changed.deliver(NOTES)


async def test_a_failed_copy_is_told_as_the_warehouse_recorded_it(changed: Engine) -> None:
    """Not an earlier one of the session: pg_last_copy_id() is that of the last COPY that was not rolled back."""
    batch = await changed.extract(NOTES)
    assert batch is not None
    (part,) = batch.files.rows
    absent = replace(part, key=f"{part.key}.absent")
    lost = replace(batch, batch_id="other", files=replace(batch.files, rows=(absent,)))
    with pytest.raises(FatalError, match="COPY failed") as failure:
        changed.load(NOTES, lost)
    assert absent.key in str(failure.value)


@pytest.mark.standin
async def test_a_failed_copy_is_told_where_the_record_may_not_be_read(changed: Engine, stack: Stack) -> None:
    batch = await changed.extract(NOTES)
    assert batch is not None
    inject(changed, "copy", "error:XX000:Spectrum Scan Error query:     99")
    right, database = "SELECT ON pg_catalog.sys_load_error_detail", stack.warehouse.database
    stack.postgres.execute(f"REVOKE {right} FROM PUBLIC", database=database)
    try:
        with pytest.raises(FatalError, match="COPY failed: Spectrum Scan Error"):
            changed.load(NOTES, batch)
    finally:
        stack.postgres.execute(f"GRANT {right} TO PUBLIC", database=database)


@pytest.mark.standin
async def test_conflicts_without_end_are_conflicts(changed: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.warehouse.session.FIRST_PAUSE_SECONDS", 0.001)
    batch = await changed.extract(NOTES)
    assert batch is not None
    for _ in range(6):
        inject(changed, "copy", f"error:XX000:{CONFLICT}")
    with pytest.raises(Conflict, match="run again"):
        changed.load(NOTES, batch)
    changed.load(NOTES, batch)
