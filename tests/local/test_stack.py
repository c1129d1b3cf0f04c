"""The stack as a whole: its command line, and what is left when its process is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from local import mysql
from local.__main__ import _describe
from local.directory import LOCK_NAME, PREFIX, stack_directory, sweep
from local.stack import Stack
from millrace.base.errors import ConfigurationError
from millrace.blocks.environment import make_blocks
from millrace.blocks.sql import opener
from tests.local.liveness import is_alive

REPOSITORY = Path(__file__).parents[2]
DEADLINE_SECONDS = 60
ENDS_WITH_SEVEN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(*(f"{name}={value}" for name, value in os.environ.items()), sep="\\n")
print("command", os.getpid(), flush=True)
time.sleep(600)
"""


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    popen = subprocess.Popen(
        [sys.executable, "-m", "local", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield popen
    finally:
        popen.kill()
        popen.wait()
        popen.stdout.close()


def read_until(popen: subprocess.Popen[str], last_words: str) -> str:
    lines = []
    assert popen.stdout is not None
    for line in popen.stdout:
        lines.append(line)
        if last_words in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def process_ids(overview: str) -> list[int]:
    return [int(line.split()[-1]) for line in overview.splitlines() if re.search(r"127\.0\.0\.1.* \d+\s*$", line)]


def wait_until_gone(identifiers: list[int]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while left := [identifier for identifier in identifiers if is_alive(identifier)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


@pytest.fixture
def own_temporary_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A TMPDIR no other stack sweeps, and one that PostgreSQL's user can reach, unlike pytest's."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        monkeypatch.setenv("TMPDIR", directory)
        monkeypatch.setattr("tempfile.tempdir", directory)
        yield Path(directory)


def test_a_killed_stack_leaves_no_process_and_its_directory_is_swept(own_temporary_directory: Path) -> None:
    with command("up", "--no-prefect", "--mysql") as popen:
        identifiers = process_ids(read_until(popen, "Ctrl-C stops everything"))
        (directory,) = own_temporary_directory.glob(f"{PREFIX}*")
        assert len(identifiers) == 5
        assert sweep() == []
        popen.kill()
        popen.wait()
    wait_until_gone(identifiers)
    assert directory.exists()
    assert sweep() == [directory]
    assert not directory.exists()


def test_up_prints_exports_a_shell_understands_and_ends_on_ctrl_c() -> None:
    with command("up", "--no-prefect", "--no-mysql") as popen:
        overview = read_until(popen, "Ctrl-C stops everything")
        popen.send_signal(signal.SIGINT)
        rest, _ = popen.communicate(timeout=DEADLINE_SECONDS)
    exports = "\n".join(line for line in overview.splitlines() if line.startswith("export "))
    script = f'{exports}\nprintf %s "$WAREHOUSE_URL"'
    url = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"redshift\+psycopg2://millrace_loader:[\w-]+@127\.0\.0\.1:\d+/warehouse\?sslmode=prefer", url)
    assert popen.returncode == 0, rest
    assert "Traceback" not in rest
    wait_until_gone(process_ids(overview))


def test_up_tells_when_a_server_ends_unasked() -> None:
    with command("up", "--no-prefect", "--no-mysql") as popen:
        overview = read_until(popen, "Ctrl-C stops everything")
        mongo = next(line for line in overview.splitlines() if "MongoDB" in line)
        os.kill(int(mongo.split()[-1]), signal.SIGKILL)
        rest, _ = popen.communicate(timeout=DEADLINE_SECONDS)
    assert popen.returncode == 1
    assert "MongoDB ended unasked" in rest
    wait_until_gone(process_ids(overview))


def test_run_hands_on_environment_signal_and_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_production")
    with command("run", "--no-prefect", "--no-mysql", "--", sys.executable, "-c", ENDS_WITH_SEVEN) as popen:
        output = read_until(popen, "command ")
        popen.send_signal(signal.SIGTERM)
        rest, _ = popen.communicate(timeout=DEADLINE_SECONDS)
    assert popen.returncode == 7, rest
    assert "LANDING_BUCKET=millrace-landing" in output
    assert "production" not in output
    wait_until_gone([int(re.search(r"command (\d+)", output)[1])])


def test_an_interrupted_start_is_no_success() -> None:
    with command("run", "--no-prefect", "--no-mysql", "--", "true") as popen:
        read_until(popen, "Starting")
        popen.send_signal(signal.SIGINT)
        rest, _ = popen.communicate(timeout=DEADLINE_SECONDS)
    assert popen.returncode == 130, rest
    assert "Traceback" not in rest


def test_mysql_comes_with_the_source_and_the_warehouse_of_stocks() -> None:
    with Stack(prefect=False, mysql=True) as stack:
        variables = stack.environment()
        blocks: dict[str, Any] = dict(make_blocks(variables))
        connections = [opener(blocks[name])() for name in ("source-mysql-stocks", "source-mysql-stocks-writer")]
        for connection in connections:
            with connection, connection.cursor() as cursor:
                assert cursor.execute("SELECT 1 FROM information_schema.innodb_trx") == 0
        with closing(opener(blocks["warehouse-stocks"].connector)()) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA stocks")
            cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            assert cursor.fetchone() == (False,)
    assert not blocks["warehouse-stocks"].is_redshift


def test_the_overview_tells_that_mysql_is_left_out(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(mysql.URL_VARIABLE, raising=False)
    monkeypatch.setattr(mysql, "SEARCHED", str(tmp_path))
    _describe(stack)
    assert "apt-get install mariadb-server-core" in capsys.readouterr().out


def test_a_kept_directory_serves_one_stack_at_a_time(tmp_path: Path) -> None:
    with stack_directory(tmp_path / "kept") as held:
        twin = stack_directory(tmp_path / "kept")
        with pytest.raises(ConfigurationError, match="another stack runs"):
            twin.__enter__()
    with stack_directory(tmp_path / "kept") as again:
        assert again == held


def test_sweeping_leaves_other_directories_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandoned, unrelated = tmp_path / f"{PREFIX}abandoned", tmp_path / "unrelated"
    for directory in (abandoned, unrelated):
        directory.mkdir()
        (directory / LOCK_NAME).touch()
    with stack_directory(None) as held:
        assert not abandoned.exists()
        assert held.parent == tmp_path
        assert sweep() == []
    assert not held.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["unrelated"]


def test_a_directory_that_goes_while_it_is_looked_at_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another stack may end between the list of directories and the look at one of them."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandoned = tmp_path / f"{PREFIX}abandoned"
    abandoned.mkdir()
    (abandoned / LOCK_NAME).touch()
    listed = [tmp_path / f"{PREFIX}gone", abandoned]
    monkeypatch.setattr(Path, "glob", lambda _directory, _pattern: iter(listed))
    assert sweep() == [abandoned]
