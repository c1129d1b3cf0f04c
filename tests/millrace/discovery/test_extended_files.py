"""What a later `init` adds to a file: names that are free, and no second comment about what cannot be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from millrace import Pipeline
from millrace.base.types import DataType, Kind
from millrace.declaration.find import find_pipeline
from millrace.discovery.choose_tables import parse_reference
from millrace.discovery.extend_file import extend_file, leave_out_known, propose_new
from millrace.discovery.propose import propose_streams
from millrace.discovery.write_file import NOT_READ, write_file
from millrace.sources.found import FoundColumn, FoundTable

FIRST, SECOND = parse_reference("postgres/a:public.*"), parse_reference("postgres/b:public.*")
LONG = "customer_subscription_billing_history_archive_2023"


def table(name: str, schema: str = "public") -> FoundTable:
    return FoundTable(schema, name, "table", (FoundColumn("id", "integer", DataType(Kind.INT32)),), ("id",))


def create(path: Path, *tables: FoundTable) -> Path:
    path.write_text(write_file("shop", "millrace init", [FIRST], propose_streams(FIRST, tables)))
    return path


def open_pipeline(path: Path) -> Pipeline:
    return find_pipeline(f"{path}:pipeline")


def extend(path: Path, *tables: FoundTable) -> list[str]:
    """Extend a file as `init --write` does. Return the names of the streams that it has then."""
    text = path.read_text()
    streams = leave_out_known(text, propose_new(open_pipeline(path), FIRST, tables)[0])
    path.write_text(extend_file(text, str(path), streams))
    return [stream.name for stream in open_pipeline(path).streams]


def test_tables_of_two_sources_get_names_of_their_own(tmp_path: Path) -> None:
    path = create(tmp_path / "shop.py", table("a"))
    first, _ = propose_new(open_pipeline(path), FIRST, [table("events"), table("events")])
    second, _ = propose_new(open_pipeline(path), SECOND, [table("events")], first)
    assert [stream.name for stream in (*first, *second)] == ["events", "public_events"]
    assert propose_new(open_pipeline(path), FIRST, [table("events")], first)[0] == [], "it is proposed already"


def test_the_table_of_a_stream_is_no_name_for_another(tmp_path: Path) -> None:
    path = create(tmp_path / "shop.py", table("a"))
    path.write_text(path.read_text().replace("Snapshot()", 'Snapshot(), target="orders"'))
    assert extend(path, table("orders")) == ["a", "public_orders"]


def test_long_names_with_a_schema_are_names(tmp_path: Path) -> None:
    path = create(tmp_path / "shop.py", table(LONG, "data_warehouse"), table("short"))
    long = [table(f"{LONG[:-1]}{digit}", "data_warehouse") for digit in range(4, 8)]
    names = extend(path, *long)
    assert len(set(names)) == 6
    assert max(map(len, names)) <= 53


def test_what_cannot_be_read_is_said_once_and_then_replaced(tmp_path: Path) -> None:
    hidden, other = replace(table("hidden"), is_readable=False), replace(table("hidden_too"), is_readable=False)
    path = create(tmp_path / "shop.py", table("a"), hidden, other)
    text = path.read_text()
    assert extend(path, hidden, other) == ["a"]
    assert path.read_text() == text
    assert extend(path, table("hidden"), other) == ["a", "hidden"]
    assert path.read_text().count(NOT_READ) == 1
    assert "# table public.hidden_too" in path.read_text()
    assert extend(path, table("hidden_too")) == ["a", "hidden", "hidden_too"]
    assert NOT_READ not in path.read_text()


def test_a_stream_that_a_person_made_a_comment_stays_one(tmp_path: Path) -> None:
    path = create(tmp_path / "shop.py", table("a"), table("b"))
    own = '        # Not now: it is moved.\n        # Stream("b", "postgres/a:public.b", "id", Snapshot()),\n'
    path.write_text(path.read_text().replace('        Stream("b", "postgres/a:public.b", "id", Snapshot()),\n', own))
    assert extend(path, table("b")) == ["a", "b"]
    assert own in path.read_text()
