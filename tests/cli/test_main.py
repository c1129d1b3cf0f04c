"""The command `millrace` as a new user types it: results on stdout, exit codes, wrong input.

What a process of its own tells apart is run in one: exit codes, the streams, where the flows' logs go. The rest is
invoked in this process, which is spared the seconds that Prefect takes to be imported.
"""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from typer.testing import CliRunner

from local.prefect_server import PrefectServer
from millrace.cli.main import application, main
from millrace.cli.show import print_lines
from millrace.seed_data.stori.generate import HEADERS
from millrace.tasks.report import RunFailed
from tests.conftest import unique

ROOT = Path(__file__).parents[2]
WRONG = [
    (("run", "nope"), "there is no pipeline 'nope'. Remedy: choose from events, stocks, stori"),
    (("run", "stori", "--stream", "nope"), "choose from transactions, trades"),
    (("run", "absent.py:pipeline"), "there is no such file"),
    (("run", "README.md:pipeline"), "this is not a Python module"),
    (("run", "pipelines/stori/__init__.py:absent"), "'absent' is not a Pipeline"),
    (("run", "stori", "--from", "2026-01-02", "--to", "2026-01-01"), "the window ends before it starts"),
    (
        ("run", "stori", "--from", "2026-01-02T00:00:00+01:00", "--to", "2026-01-01T23:00:00Z"),
        "--to is not after --from",
    ),
    (("run", "stori", "--from", "2199-01-01"), "--from is in the future"),
    (("run", "stori", "--full", "--from", "2026-01-01"), "a full has no window: leave out --from and --to or --full"),
    (("plan", "stori", "--full", "--to", "2026-01-01"), "a full has no window"),
    (
        ("run", "stocks", "--from", "2026-01-01"),
        "every run reads all of it, so it has no window. Remedy: leave out --from",
    ),
    (("collect", "stori"), "it has no stream from a queue"),
    (("collect", "events", "--stream", "nope"), "choose from events"),
    (("collect", "totesys", "--stream", "staff"), "it does not come from a queue. Remedy: choose other --stream"),
    (("collect", "events", "--seconds", "-1"), "--seconds: Input should be greater than 0"),
    (("collect", "events", "--flush-seconds", "nan"), "--flush-seconds: Input should be a finite number"),
    (("chart", "events", "--from", "2026-01-02", "--to", "2026-01-01"), "1 to 92 days (--from, --to)"),
    (("chart", "events", "--from", "2026-01-01", "--to", "2026-01-02", "--days", "1"), "--from, --to and --days: two"),
    (("chart", "events", "--platform", "web"), "--platform: Input should be 'ios' or 'android'"),
    (("simulate", "totesys", "--speed", "inf"), "--speed: Input should be"),
    (("sweep", "stori", "--stream", "nope"), "choose from transactions, trades"),
    (("rejects", "nope"), "there is no pipeline 'nope'"),
    (("seed", "events"), "there is no sample data for 'events'"),
    (("seed", "stori", "--file", "nope.csv"), "--file: Path does not point to a file"),
    (("seed", "stori", "--file", "Makefile"), "--file: Makefile is neither a .csv file (transactions) nor a .json"),
    (("seed", "stori", "--file", "Makefile", "--rows", "5"), "--rows has no effect here: a file is imported as it is"),
    (("seed", "totesys", "--file", "Makefile"), "--file has no effect here"),
]


def millrace(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "millrace.cli.main", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | (environment or {}), capture_output=True, text=True, check=False
    )


def test_a_terminal_that_knows_no_such_character_gets_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr("millrace.cli.main.application", lambda: print_lines(["café"]))
    main()
    sys.stdout.flush()
    assert written.getvalue() == b"caf\\xe9\n"


def test_help_names_the_commands() -> None:
    done = millrace("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("run", "plan", "sweep", "replay", "rejects", "seed"))


def invoked(*arguments: str) -> tuple[int, str, str]:
    """The same in this process: exit code, stdout, stderr. Blocks are those of the fixture `bootstrapped`."""
    done = CliRunner().invoke(application, arguments)
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_request_is_one_clear_line(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    code, out, told = invoked(*arguments)
    assert (code, out) == (2, "")
    assert message in told
    assert told.count("\n") == 1


def test_a_wrong_request_ends_the_process_without_a_traceback() -> None:
    arguments, message = WRONG[1]
    done = millrace(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def environment_of_a_user(bootstrapped: dict[str, str], prefect_server: PrefectServer) -> dict[str, str]:
    """What `make up` prints."""
    return bootstrapped | {"PREFECT_API_URL": prefect_server.api_url, "PREFECT_HOME": str(prefect_server.home)}


@pytest.mark.usefixtures("environment_of_a_user")
def test_a_file_is_imported_and_its_rejects_are_listed(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text(f"{HEADERS['spaced']}\n1,31-Jun-17,no such day,True,29-Jun-17,,5.00,5.00\n")
    code, out, told = invoked("seed", "stori", "--file", str(own))
    assert code == 0, told
    reasons, keys = out.split("first at")[1].split("Rejected records:")
    assert ["own.csv", "date|parse", "1", "2"] in [line.replace("│", " ").split() for line in reasons.splitlines()]
    assert keys.strip().startswith("rejects/stori/transactions/")


def test_run_plan_and_seed(environment_of_a_user: dict[str, str]) -> None:
    """Seed, plan, run with JSON in a process of its own, and what is asked about it afterwards."""
    code, out, told = invoked("seed", "stori", "--rows", "50", "--documents", "20")
    assert code == 0, told
    assert "txns.csv" in out
    code, out, told = invoked("plan", "stori", "--stream", "transactions")
    assert code == 0, told
    assert "create table stori.transactions" in out
    done = millrace("run", "stori", "--json", environment=environment_of_a_user)
    assert done.returncode == 0, done.stderr
    assert {one["stream"]: one["inserted"] for one in streams(done.stdout)} == {"transactions": 50, "trades": 20}
    assert "Completed" in done.stderr, "the logs of the flows"
    code, out, told = invoked("sweep", "stori", "--json")
    assert code == 0, told
    assert {one["kind"]: one["deleted"] for one in streams(out)} == {"sweep": 0}
    assert invoked("rejects", "stori")[:2] == (0, "No rejected rows are open.\n")
    code, out, told = invoked("replay", "stori", "--json")
    assert code == 0, told
    assert {one["read"] for one in streams(out)} == {0}


def test_rejects_with_any_key_are_listed(environment_of_a_user: dict[str, str], tmp_path: Path) -> None:
    """Keys that would be markup or commands of a terminal, as a customer may choose them."""
    table, keys = (
        unique("notes"),
        ["[/x] closing tag", "[bold red]", "[link=x]y[/link]", "\x1b]0;owned\x07", "a\u202eb"],
    )
    with closing(psycopg2.connect(environment_of_a_user["SOURCE_POSTGRES_URL"])) as connection, connection:
        cursor = connection.cursor()
        cursor.execute(f"CREATE TABLE {table} (id text PRIMARY KEY, amount numeric, changed timestamptz DEFAULT now())")
        cursor.execute(f"INSERT INTO {table} SELECT unnest(%s), 'NaN'", (keys,))
        cursor.execute(f"INSERT INTO {table} SELECT g::text, 1 FROM generate_series(1, 200) AS g")
    module = tmp_path / "shop.py"
    module.write_text(
        "from millrace import Incremental, Pipeline, Stream\n"
        f"shop = Pipeline('shop', [Stream('{table}', source='postgres:public.{table}', key='id', "
        "capture=Incremental('changed'))])\n"
    )
    code, _, told = invoked("run", f"{module}:shop")
    assert code == 0, told
    code, out, told = invoked("rejects", f"{module}:shop", "--rows")
    assert code == 0, told
    assert all(f'"{key}"' in out for key in keys if key.isprintable())
    assert "]0;owned" in out
    assert (out + told).replace("\n", "").isprintable()


def streams(report: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(report)["streams"]
    return found


@pytest.fixture
def shop_without_a_table(environment_of_a_user: dict[str, str], tmp_path: Path) -> tuple[str, str, str]:
    """A pipeline by its path, its stream that is there, and the one that is not."""
    present, absent = unique("present"), unique("absent")
    with closing(psycopg2.connect(environment_of_a_user["SOURCE_POSTGRES_URL"])) as connection, connection:
        connection.cursor().execute(
            f"CREATE TABLE {present} AS SELECT i AS id, now() AS changed FROM generate_series(1, 1234) AS i"
        )
    streams = ", ".join(
        f"Stream('{name}', source='postgres:public.{name}', key='id', capture=Incremental('changed'))"
        for name in (present, absent)
    )
    module = tmp_path / "shop.py"
    module.write_text(f"from millrace import Incremental, Pipeline, Stream\nshop = Pipeline('shop', [{streams}])\n")
    return f"{module}:shop", present, absent


def test_a_failure_is_a_line_and_every_stream_has_its_row(
    environment_of_a_user: dict[str, str], shop_without_a_table: tuple[str, str, str]
) -> None:
    """In a process of its own, with the logs of Prefect as a user has them."""
    pipeline, present, absent = shop_without_a_table
    done = millrace("run", pipeline, environment=environment_of_a_user)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "StreamsFailed" not in done.stderr
    assert done.stderr.count(f"stream {absent} (postgres:public.{absent}): ") == 1, "told once"
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("millrace: "))
    assert f"millrace: stream {absent} (postgres:public.{absent}): " in line
    assert "Remedy:" in line
    rows = {row.split()[1]: row for row in done.stdout.splitlines() if row.startswith("│")}
    assert "│ loaded " in rows[present]
    assert "1,234" in rows[present]
    assert "│ refused " in rows[absent]
    assert line.removeprefix("millrace: ") in rows[absent]


def test_json_and_plan_tell_of_every_stream_too(shop_without_a_table: tuple[str, str, str]) -> None:
    pipeline, present, absent = shop_without_a_table
    code, out, told = invoked("plan", pipeline)
    assert code == 2
    assert f'FROM "public"."{present}"' in out
    assert f"refused: stream {absent} " in out
    assert told.count(f"millrace: stream {absent} ") == 1
    code, out, told = invoked("run", pipeline, "--json")
    assert code == 2
    assert {one["stream"]: one["status"] for one in streams(out)} == {present: "loaded", absent: "refused"}


@pytest.mark.parametrize("place", [0, 1, 3])
def test_tracebacks_are_for_those_who_ask(
    shop_without_a_table: tuple[str, str, str],
    place: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--debug` may stand anywhere."""
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "")
    level = logging.getLogger("prefect").level
    arguments = ["plan", shop_without_a_table[0], "--json"]
    assert invoked(*arguments)[0] == 2
    assert not [record for record in caplog.records if record.exc_info]
    arguments.insert(place, "--debug")
    try:
        done = CliRunner().invoke(application, arguments)
    finally:
        logging.getLogger("prefect").setLevel(level)
    assert isinstance(done.exception, RunFailed)
    assert [record for record in caplog.records if record.exc_info]
