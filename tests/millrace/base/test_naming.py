"""The naming grammar of docs/naming.md: columns of source fields, declared names, quoting."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.stack import Stack
from millrace.base.errors import ConfigurationError
from millrace.base.naming import (
    MAX_IDENTIFIER_BYTES,
    RESERVED,
    check_name,
    column_name,
    column_names,
    distinct_column_name,
    literal,
    quote,
    quote_list,
)
from millrace.lake.batch import batch_prefix, new_batch_id

ROOT = Path(__file__).parents[3]
PATHS = st.lists(st.text("aAbB._$ é0\x01\"'", max_size=5) | st.text(max_size=80), max_size=8, unique=True)
STEADY = settings(derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("id", "id"),
        ("_id", "_id"),
        ("transaction_no", "transaction_no"),
        ("updatedAt", "updated_at"),
        ("details.asks", "details_asks"),
        ("a.bC.d", "a_b_c_d"),
        ("HTTPStatus", "httpstatus"),
        ("Value2Date", "value2_date"),
        ("TRANSACTION NO", "transaction_no"),
        ("with  blanks", "with_blanks"),
        ("$dollar", "_dollar"),
        ('quo"te', "quo_te"),
        ("semi;colon--", "semi_colon_"),
        ("9lives", "_9lives"),
        ("naïve", "na_ve"),
        ("tab\there\n", "tab_here_"),
        ("a__b", "a__b"),
        ("select", "select"),
        ("x" * MAX_IDENTIFIER_BYTES, "x" * MAX_IDENTIFIER_BYTES),
    ],
)
def test_a_field_becomes_a_plain_column(path: str, name: str) -> None:
    assert column_name(path) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("", "field_e3b0c442"),
        ("ü", "field_607474ca"),
        ("___", "field_"),
        ("   ", "field_"),
        ("_row_hash", "_row_hash_"),
        ("_loaded_at", "_loaded_at_"),
        ("_rowHash", "_row_hash_"),
        ("x" * (MAX_IDENTIFIER_BYTES + 1), "x" * 54 + "_"),
        ("ü" * 100 + "a" * 100, "_" + "a" * 53 + "_"),
    ],
)
def test_what_has_no_plain_name_gets_a_digest_of_its_path(path: str, name: str) -> None:
    assert column_name(path).startswith(name)
    assert column_name(path) == column_name(path)
    assert column_name(path) not in RESERVED


def test_long_names_that_begin_alike_stay_apart() -> None:
    names = {column_name("x" * 200 + end) for end in ("a", "b", "c")}
    assert len(names) == 3
    assert all(len(name) == MAX_IDENTIFIER_BYTES for name in names)


def test_of_paths_that_collide_the_plain_one_keeps_the_name() -> None:
    named = column_names(["aB", "a b", "a_b", "other"])
    assert named["a_b"] == "a_b"
    assert named["other"] == "other"
    assert named["aB"] == distinct_column_name("aB")
    assert len(set(named.values())) == 4
    assert list(named) == ["aB", "a b", "a_b", "other"]


def test_names_do_not_depend_on_the_order_of_the_fields() -> None:
    paths = ["aB", "a b", "a_b", "a.b", "c"]
    assert column_names(paths) == column_names(reversed(paths))


@STEADY
@given(PATHS)
def test_no_two_paths_share_a_column(paths: list[str]) -> None:
    named = column_names(paths)
    assert list(named) == paths
    assert len(set(named.values())) == len(paths)


@STEADY
@given(PATHS)
def test_every_column_follows_the_grammar(paths: list[str]) -> None:
    for name in column_names(paths).values():
        assert name.isascii()
        assert name == name.lower()
        assert name.replace("_", "a").isalnum()
        assert not name[0].isdigit()
        assert len(name) <= MAX_IDENTIFIER_BYTES
        assert name not in RESERVED


@STEADY
@given(PATHS)
def test_a_column_is_its_own_name(paths: list[str]) -> None:
    """So that a target read back as a source keeps its names."""
    for name in column_names(paths).values():
        assert column_name(name) == name


@pytest.mark.parametrize("name", ["stori", "a", "_a", "a9", "a_b", "x" * 53])
def test_a_declared_name_is_taken_as_it_is(name: str) -> None:
    assert check_name(name, "stream") == name


@pytest.mark.parametrize("name", ["", "A", "9a", "a-b", "a b", "a.b", 'a"', "a;", "é", "x" * 54, "a\n"])
def test_a_declared_name_that_breaks_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"stream .* is not a name.*Remedy: use lower-case"):
        check_name(name, "stream")


def test_identifiers_are_quoted() -> None:
    assert quote("public", 'we"ird') == '"public"."we""ird"'
    assert quote_list(["a", 'b"'], "s.") == 's."a", s."b"""'


@pytest.mark.parametrize("name", ["", "a\x00", "a\nb", "\t", "\x1b"])
def test_an_identifier_no_database_takes_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"empty or contains a control character.*Remedy"):
        quote("fine", name)


def test_literals_are_escaped_and_what_cannot_be_is_refused() -> None:
    assert literal("it's") == "'it''s'"
    for text in ("a\x00", "a\\"):
        with pytest.raises(ConfigurationError, match="neither NUL nor backslash"):
            literal(text)


SENDABLE = st.text(
    st.characters(min_codepoint=32, exclude_categories=["Cs"]) | st.sampled_from("\"'.;-%\\ "), min_size=1
).filter(lambda name: len(name.encode()) <= MAX_IDENTIFIER_BYTES)


@settings(STEADY, max_examples=150)
@given(name=SENDABLE, text=st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=20))
def test_names_and_literals_come_back_from_the_server_as_they_were(stack: Stack, name: str, text: str) -> None:
    plain = text.replace("\\", "")
    with closing(psycopg2.connect(stack.postgres.url())) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {literal(plain)} AS {quote(name)}")
        assert cursor.description[0].name == name
        assert cursor.fetchone() == (plain,)


def test_the_documented_columns_are_the_ones_that_come_out() -> None:
    page = (ROOT / "docs/naming.md").read_text(encoding="utf-8")
    documented = re.findall(
        r"^\| `(.+)` \| `(.+)` \|$", page.split("| Path | Column |")[1].split("A dot")[0], re.MULTILINE
    )
    assert len(documented) > 5
    assert [(path, column_name(path)) for path, _ in documented] == documented


def test_the_documented_keys_are_the_ones_that_come_out() -> None:
    moment = datetime(2026, 11, 21, 4, 2, 32, 831214, tzinfo=UTC)
    batch_id = new_batch_id(moment)
    assert re.fullmatch(r"20261121T040232\.831214Z-[0-9a-f]{8}", batch_id)
    assert batch_prefix("stori", "trades", moment, batch_id) == f"stori/trades/2026/11/21/{batch_id}"
    assert new_batch_id(moment) != batch_id
    elsewhere = moment.astimezone(timezone(timedelta(hours=-9)))
    assert batch_prefix("stori", "trades", elsewhere, "b") == "stori/trades/2026/11/21/b"
