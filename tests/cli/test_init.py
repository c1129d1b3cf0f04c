"""`millrace init` as a user types it, on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from local.stack import Stack
from millrace.cli.main import application


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    done = CliRunner().invoke(application, arguments)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def database(bootstrapped: dict[str, str], stack: Stack) -> str:
    """The database of the source of the blocks, with a schema of two tables."""
    name = bootstrapped["SOURCE_POSTGRES_URL"].rpartition("/")[2]
    stack.postgres.execute(
        f"CREATE SCHEMA lab AUTHORIZATION {name}; SET ROLE {name}; "
        "CREATE TABLE lab.a (id int PRIMARY KEY, updated_at timestamptz); CREATE TABLE lab.b (v text)",
        database=name,
    )
    return name


def test_it_writes_a_file_that_plans_and_later_shows_what_is_new(
    database: str, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, told = invoke("init", "postgres:lab.*")
    assert code == 0, told
    assert "wrote lab.py; read it, then type: millrace plan lab.py" in told
    assert [line.replace("│", " ").split()[:4] for line in out.splitlines() if "postgres:lab." in line] == [
        ["a", "postgres:lab.a", "id", 'Incremental("updated_at")'],
        ["b", "postgres:lab.b", "Snapshot()", "load=Replace()"],
    ]
    code, out, told = invoke("plan", "lab.py")
    assert code == 0, told
    assert "create table lab.a" in out
    assert invoke("init", "postgres:lab.*") == (0, "", "millrace: lab.py has every table\n")
    stack.postgres.execute(f"SET ROLE {database}; CREATE TABLE lab.c (id int PRIMARY KEY)", database=database)
    before = Path("lab.py").read_text()
    code, out, told = invoke("init", "postgres:lab.*")
    assert (code, told) == (0, "millrace: lab.py is unchanged; add --write to add these streams\n")
    assert '+        Stream("c", "postgres:lab.c", "id", Snapshot()),\n' in out
    assert Path("lab.py").read_text() == before
    assert invoke("init", "postgres:lab.*", "--write")[0] == 0
    assert '        Stream("c", "postgres:lab.c", "id", Snapshot()),\n' in Path("lab.py").read_text()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("postgres:lab",), "source 'postgres:lab' is not understood. Remedy: write kind:schema.name"),
        (("sqs/events",), "a queue has no tables"),
        (("postgres:absent.*",), "it names no table that this user sees"),
        (("postgres:lab.*", "--exclude", "z*"), "--exclude z* names no table. Remedy: choose from a, b"),
        (("postgres/nowhere:lab.*",), "SOURCE_POSTGRES_NOWHERE_URL"),
        (("postgres:lab.*", "--name", "My Shop"), "pipeline 'My Shop' is not a name"),
        (("postgres:lab.*", "--output", "absent/x.py"), "absent/x.py: it cannot be written (No such file"),
        (("postgres:lab.*", "--output", "other.txt"), "this is not a Python module"),
    ],
    ids=str,
)
def test_a_wrong_request_is_one_clear_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.txt").write_text("x")
    code, out, told = invoke("init", *arguments)
    assert (code, out) == (2, "")
    assert message in told
    assert told.count("\n") == 1
