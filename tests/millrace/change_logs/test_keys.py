"""Keys of every type: the log spells some of them in another way than a read of the table does."""

from __future__ import annotations

import polars as pl
import pytest

from millrace import ChangeLog, Stream
from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.change_logs.visibility import VisibleTransactions
from tests.support.engine import PUBLICATION, Engine, counts

THINGS = Stream("things", "postgres:public.things", "id", ChangeLog(), max_delete_share=1.0)


@pytest.mark.parametrize(
    ("key_type", "values"),
    [
        ("bigint", ["-9223372036854775808", "0", "9223372036854775807"]),
        ("numeric(20, 4)", ["-1.5000", "0", "1234567890123456.7891"]),
        ("boolean", ["true", "false"]),
        ("char(5)", ["a", "ab   ", "abcde"]),
        ("text", ["", "a''b", 'ä𝄞\n\t\\,"', "{}", "NULL"]),
        ("varchar(3000)", ["x" * 2000, "y"]),
        ("uuid", ["00000000-0000-0000-0000-000000000001", "FFFFFFFF-0000-0000-0000-000000000001"]),
        ("date", ["2026-02-28", "0001-01-01"]),
        ("timestamp", ["2026-01-02 03:04:05.12", "1969-12-31 23:59:59.999999"]),
        ("timestamptz", ["2026-01-02 03:04:05.1+02", "2026-07-01 00:00:00+00"]),
        ("inet", ["10.0.0.1", "10.0.0.1/24", "::1"]),
        ("interval", ["1 year 2 days", "00:00:00.5"]),
        ("bit(4)", ["1010", "0000"]),
        ("mood", ["glad", "sad"]),
        ("positive", ["1", "2"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_rows_are_found_by_keys_of_every_type(logged: Engine, key_type: str, values: list[str]) -> None:
    logged.source(
        "CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);"
        f"CREATE TABLE things (id {key_type} PRIMARY KEY, note text);"
        f"CREATE PUBLICATION {PUBLICATION} FOR TABLE things (id) WITH (publish_via_partition_root = true)"
    )
    await logged.follow(THINGS)
    rows = ", ".join(f"('{value}', 'first')" for value in values)
    logged.source(f"INSERT INTO things VALUES ('{values[0]}', 'only')")
    assert counts((await logged.follow(THINGS))["things"]) == {"read": 1, "inserted": 1}
    logged.source(f"DELETE FROM things; INSERT INTO things VALUES {rows}")
    expected = {"read": len(values), "inserted": len(values) - 1, "updated": 1}
    assert counts((await logged.follow(THINGS))["things"]) == expected
    logged.source("UPDATE things SET note = 'second'")
    assert counts((await logged.follow(THINGS))["things"]) == {"read": len(values), "updated": len(values)}
    logged.source(f"DELETE FROM things WHERE id = '{values[-1]}'")
    assert counts((await logged.follow(THINGS))["things"]) == {"read": 1, "deleted": 1}
    logged.source("DELETE FROM things")
    result = (await logged.follow(THINGS))["things"]
    assert counts(result) == {"read": len(values) - 1, "deleted": len(values) - 1}
    assert result.kind == "log"


async def test_spellings_of_one_number_are_one_key(logged: Engine) -> None:
    logged.source(
        "CREATE TABLE things (id numeric PRIMARY KEY, note text);"
        f"CREATE PUBLICATION {PUBLICATION} FOR TABLE things (id) WITH (publish_via_partition_root = true);"
        "INSERT INTO things VALUES (1.0, 'first'), (2, 'first')"
    )
    await logged.follow(THINGS)
    logged.source("UPDATE things SET id = 1.00, note = 'second' WHERE id = 1")
    result = (await logged.follow(THINGS))["things"]
    assert (result.deleted, result.read) in {(0, 1), (1, 2)}
    assert [float(row[0]) for row in logged.rows("things", "id")] == [1, 2]


async def test_several_columns_in_another_order_than_the_index(logged: Engine) -> None:
    logged.source(
        "CREATE TABLE things (note text, id int, part text, PRIMARY KEY (part, id));"
        f"CREATE PUBLICATION {PUBLICATION} FOR TABLE things (id, part) WITH (publish_via_partition_root = true);"
        "INSERT INTO things VALUES ('first', 1, 'a'), ('first', 1, 'b')"
    )
    stream = Stream("things", "postgres:public.things", ["id", "part"], ChangeLog(), max_delete_share=1.0)
    await logged.follow(stream)
    logged.source("UPDATE things SET id = 2 WHERE part = 'a'; DELETE FROM things WHERE part = 'b'")
    assert counts((await logged.follow(stream))["things"]) == {"read": 3, "inserted": 1, "deleted": 2}
    assert logged.rows("things", "id", "part", "note") == [(2, "a", "first")]


@pytest.mark.parametrize("identity", ["FULL", "USING INDEX things_code_key"])
async def test_other_identities(logged: Engine, identity: str) -> None:
    logged.source(
        "CREATE TABLE things (id int, code text NOT NULL UNIQUE, note text);"
        f"ALTER TABLE things REPLICA IDENTITY {identity};"
        f"CREATE PUBLICATION {PUBLICATION} FOR TABLE things WITH (publish_via_partition_root = true);"
        "INSERT INTO things VALUES (1, 'a', repeat('x', 5000)), (2, 'b', 'y')"
    )
    stream = Stream("things", "postgres:public.things", "code", ChangeLog(), max_delete_share=1.0)
    await logged.follow(stream)
    logged.source("UPDATE things SET code = 'c' WHERE id = 1; DELETE FROM things WHERE id = 2")
    assert counts((await logged.follow(stream))["things"]) == {"read": 3, "inserted": 1, "deleted": 2}


@pytest.mark.parametrize(
    ("statement", "error", "said"),
    [
        ("CREATE TABLE things (id int PRIMARY KEY)", ConfigurationError,
         r'CREATE PUBLICATION "millrace_engine" FOR TABLE "public"\."things" \("id"\) WITH'),
        ("CREATE TABLE things (id int PRIMARY KEY); ALTER TABLE things REPLICA IDENTITY FULL", ConfigurationError,
         r'FOR TABLE "public"\."things" WITH'),
        (f"CREATE TABLE things (id int PRIMARY KEY); CREATE PUBLICATION {PUBLICATION}", ConfigurationError,
         "lacks 1 of 1 tables"),
        ("CREATE TABLE things (id int)", ConfigurationError, "by no column"),
        ("CREATE TABLE things (id int, code int PRIMARY KEY)", ConfigurationError, "by code, and the key .* is id"),
        ("CREATE TABLE things (id int PRIMARY KEY); ALTER TABLE things REPLICA IDENTITY NOTHING", ConfigurationError,
         "by no column"),
        ("CREATE VIEW things AS SELECT 1 AS id", ConfigurationError, "it is no table"),
        ("CREATE TABLE things (id int PRIMARY KEY); CREATE TABLE child () INHERITS (things)", ConfigurationError,
         "inherit"),
        ("CREATE TABLE things (id int PRIMARY KEY); "
         f"CREATE PUBLICATION {PUBLICATION} FOR TABLE things (id) WITH (publish = 'insert')",
         ConfigurationError, "leaves out some kinds of changes"),
        (f"CREATE TABLE things (id int PRIMARY KEY); CREATE PUBLICATION {PUBLICATION} FOR TABLE things WHERE (id > 1)",
         ConfigurationError, "some of its rows only"),
        ("SELECT 1", SourceMissing, "no such table"),
    ],
    ids=["none", "full", "empty", "no key", "other key", "nothing", "view", "inherited", "operations",
         "filter", "missing"],
)  # fmt: skip
async def test_what_is_not_set_up_is_told_with_the_remedy(
    logged: Engine, statement: str, error: type[Exception], said: str
) -> None:
    logged.source(statement)
    with pytest.raises(error, match=said):
        await logged.follow(THINGS)
    assert logged.source("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == [(0,)]


async def test_a_user_without_the_right_is_told_how_it_is_granted(engine: Engine) -> None:
    engine.source("CREATE TABLE things (id int PRIMARY KEY)")
    with pytest.raises(ConfigurationError, match=r"ALTER ROLE … REPLICATION"):
        await engine.follow(THINGS)


@pytest.mark.parametrize(
    ("snapshot", "xid", "is_shown"),
    [
        ("100:105:101,103", 99, True),
        ("100:105:101,103", 101, False),
        ("100:105:101,103", 102, True),
        ("100:105:101,103", 105, False),
        # The number in the log begins again at 0 after 32 bits.
        (f"{2**32 - 2}:{2**32 + 3}:{2**32 - 2}", 2**32 - 1, True),
        (f"{2**32 - 2}:{2**32 + 3}:{2**32 - 2}", 2**32 - 2, False),
        (f"{2**32 - 2}:{2**32 + 3}:{2**32 - 2}", 2, True),
        (f"{2**32 - 2}:{2**32 + 3}:{2**32 - 2}", 3, False),
        (f"{2**32 - 5}:{2**32 - 3}:", 1, False),
    ],
)
def test_transactions_that_a_snapshot_shows(snapshot: str, xid: int, is_shown: bool) -> None:
    frame = pl.DataFrame({"xid": [xid]}, schema={"xid": pl.Int64})
    assert frame.select(VisibleTransactions.parse(snapshot).shows(pl.col("xid"))).item() is is_shown


@pytest.mark.parametrize("name", ["order", "xid", "end", "committed_at", "is_deleted", "is_readable", "key 0", "data"])
async def test_keys_of_any_name(logged: Engine, name: str) -> None:
    logged.source(
        f"CREATE TABLE things (\"{name}\" int PRIMARY KEY, note text); INSERT INTO things VALUES (1, 'a'), (2, 'b');"
        f'CREATE PUBLICATION {PUBLICATION} FOR TABLE things ("{name}") WITH (publish_via_partition_root = true)'
    )
    stream = Stream("things", "postgres:public.things", name, ChangeLog(), max_delete_share=1.0)
    await logged.follow(stream)
    logged.source(f"DELETE FROM things WHERE \"{name}\" = 1; UPDATE things SET note = 'c'")
    assert counts((await logged.follow(stream))["things"]) == {"read": 2, "updated": 1, "deleted": 1}
