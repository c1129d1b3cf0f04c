"""Folders with rows of tables: nobody else looks into them, and none outlives its run for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.base.disk import FOLDER_PREFIX, TemporaryFolder, remove_abandoned

HOLDER = """
import sys, time
from millrace.base.disk import TemporaryFolder
folder = TemporaryFolder()
(folder.path / "part").write_text("rows")
print(folder.path, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of this test's own, as a container has it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another run with a folder of its own."""
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_a_folder_is_its_user_s_alone_and_goes_with_everything_in_it(temporary: Path) -> None:
    with TemporaryFolder() as folder:
        (folder / "part").write_text("rows")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_killed_run_is_removed_by_the_next(holder: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = holder
    assert remove_abandoned() == []
    assert (folder / "part").exists(), "its run is at work"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with TemporaryFolder() as own:
        assert remove_abandoned() == [folder]
        assert own.exists()
    assert not folder.exists()


def test_the_folder_of_a_frozen_run_stays(holder: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = holder
    process.send_signal(signal.SIGSTOP)
    assert remove_abandoned() == []
    assert folder.exists()


def test_nothing_else_is_removed(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (temporary / f"{FOLDER_PREFIX}link").symlink_to(elsewhere)
    (temporary / f"{FOLDER_PREFIX}file").touch()
    for name in ("millrace-stack-abc", "millrace-abcdefgh", "other"):
        (temporary / name).mkdir()
    assert remove_abandoned() == []
    assert (elsewhere / "kept").exists()
    assert len(list(temporary.iterdir())) == 6


def test_the_folder_of_another_user_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder := temporary / f"{FOLDER_PREFIX}other").mkdir()
    nobody = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: nobody)
    assert remove_abandoned() == []
    assert folder.exists()


def test_the_engine_puts_rows_only_into_folders_that_a_later_run_removes() -> None:
    """A run that is killed leaves no customer's rows on the disk: nothing beside base/disk.py makes temporary files."""
    engine = Path(__file__).parents[3] / "millrace"
    users = [path.relative_to(engine).as_posix() for path in engine.rglob("*.py") if "tempfile" in path.read_text()]
    assert users == ["base/disk.py"]
