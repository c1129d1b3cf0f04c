"""docs/errors.md: a row for every class of error and for every group of a server's, with what a user reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pymysql
import pytest
import typer
from botocore.exceptions import ClientError
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pymongo import errors as mongo

from millrace.base import errors as known
from millrace.base.errors import MillraceError
from millrace.base.redact import redact
from millrace.cli.command import fail
from millrace.drivers import botocore_errors, mongo_client, psycopg_errors, pymysql_errors
from millrace.tasks.failures import status_of
from millrace.tasks.policy import is_retryable

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
VALUE = "Smith"
"""Stands in what a server says, and must not stand in what a user reads."""
REFUSED_BY_SQS = re.compile(r"(\d{3}) (\w+)")


def rows(heading: str) -> list[list[str]]:
    """Cells of the table under that heading, without its own heading."""
    (_, section) = PAGE.split(f"## {heading}\n")
    lines = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def classes(kind: type[MillraceError] = MillraceError) -> Iterator[type[MillraceError]]:
    yield kind
    for inner in kind.__subclasses__():
        if inner.__module__ == known.__name__:
            yield from classes(inner)


def exit_code(kind: type[MillraceError], capsys: pytest.CaptureFixture[str]) -> int:
    with pytest.raises(typer.Exit) as ended:
        fail(kind("it"))
    capsys.readouterr()
    return ended.value.exit_code


def is_tried_again(kind: type[MillraceError]) -> bool:
    state: State[Any] = Failed(data=kind("it"))
    return is_retryable(cast("Any", None), cast("Any", None), state)


def test_every_class_has_a_row_whose_columns_are_what_the_program_does(capsys: pytest.CaptureFixture[str]) -> None:
    told = {name.strip("`"): (status, int(code), again) for name, status, code, again, _, _ in rows("Classes")}
    done = {
        kind.__name__: (
            status_of(kind("it")),
            exit_code(kind, capsys),
            "by the task, three times" if is_tried_again(kind) else "no",
        )
        for kind in classes()
    }
    assert told == done


@pytest.mark.parametrize("row", rows("Classes"), ids=lambda row: row[0])
def test_an_example_has_place_and_remedy_and_no_secret(row: list[str]) -> None:
    name, *_, example = row
    found = re.fullmatch(r"(?P<place>[^:]+(?:\([^)]*\))?[^:]*): (?P<problem>.+)\. Remedy: (?P<remedy>.+)\.", example)
    assert found is not None
    kind = cast("type[MillraceError]", getattr(known, name.strip("`")))
    assert str(kind(found["problem"], place=found["place"], remedy=found["remedy"])) == example
    assert redact(example) == example


def of_postgres(code: str, said: str, place: str) -> MillraceError:
    diagnostics = SimpleNamespace(message_primary=said, message_detail=VALUE, statement_position="1", context=None)
    cursor = SimpleNamespace(query=b"SELECT 1")
    return psycopg_errors.translate(
        cast("Exception", SimpleNamespace(pgcode=code.replace("none", ""), diag=diagnostics, cursor=cursor)), place
    )


def of_mysql(code: str, said: str, place: str) -> MillraceError:
    return pymysql_errors.translate(pymysql.err.OperationalError(int(code), said), place)


def of_mongodb(code: str, said: str, place: str) -> MillraceError:
    if not code.isdigit():
        return mongo_client.translate(getattr(mongo, code)(said), place)
    return mongo_client.translate(mongo.OperationFailure(said, int(code)), place)


def of_sqs(code: str, said: str, place: str) -> MillraceError:
    status, name = code.split()
    answer: Any = {"Error": {"Code": name, "Message": said}, "ResponseMetadata": {"HTTPStatusCode": int(status)}}
    with pytest.raises(MillraceError) as raised, botocore_errors.queue_errors(place):
        raise ClientError(answer, "ReceiveMessage")
    return raised.value


SERVERS = {
    "Postgres and Redshift": (of_postgres, "stream shop.orders (postgres:public.orders)"),
    "MySQL and MariaDB": (of_mysql, "stream shop.orders (mysql:shop.orders)"),
    "MongoDB": (of_mongodb, "stream shop.orders (mongo:shop.orders)"),
    "SQS": (of_sqs, "stream shop.orders (sqs/orders)"),
}


@pytest.mark.parametrize(
    ("server", "row"), [(server, row) for server in SERVERS for row in rows(server)], ids=lambda one: str(one)[:40]
)
def test_what_a_user_reads_of_a_servers_error_is_what_the_page_says(server: str, row: list[str]) -> None:
    code, name, said, read = row
    translate, place = SERVERS[server]
    error = translate(code, said, place)
    assert (f"`{type(error).__name__}`", str(error)) == (name, read)
    assert VALUE not in read
    assert error.remedy


def test_every_error_that_is_raised_has_a_remedy() -> None:
    """Those of the command line's options say themselves which is wrong; helpers that raise ask for it."""
    names = {kind.__name__ for kind in classes()}
    for package in ("millrace", "pipelines", "blocks", "tasks", "flows", "seed_data", "infra"):
        for path in sorted(ROOT.glob(f"{package}/**/*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                    given = [keyword.arg for keyword in node.keywords]
                    assert "remedy" in given, f"{path.relative_to(ROOT)}, line {node.lineno}"


def test_every_group_of_codes_has_a_row() -> None:
    states = [row[0] for row in rows("Postgres and Redshift")]
    missing = [
        state
        for meaning in psycopg_errors._MEANINGS
        for state in meaning.states
        if not any(code.startswith(state) for code in states)
    ]
    assert missing == []
    for module, server, groups in (
        (
            pymysql_errors,
            "MySQL and MariaDB",
            ("_CREDENTIALS", "_PERMISSION", "_MISSING", "_PASSING", "_EXHAUSTED", "_CONNECTION"),
        ),
        (mongo_client, "MongoDB", ("CREDENTIALS_CODES", "PASSING_CODES")),
    ):
        codes = {int(row[0]) for row in rows(server) if row[0].isdigit()}
        assert all(codes & getattr(module, group) for group in groups)
