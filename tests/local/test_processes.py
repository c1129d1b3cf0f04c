"""Children start, are known to be ready, and end, whatever they do."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.processes import LOCALHOST, Process, answers_http, dies_with_parent, free_port
from millrace.base.errors import Unreachable
from tests.conftest import roomy
from tests.local.liveness import is_alive

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
"""

StartPython = Callable[[str], Process]


@pytest.fixture
def python(tmp_path: Path) -> Iterator[StartPython]:
    started: list[Process] = []

    def start(code: str) -> Process:
        process = Process("child", [sys.executable, "-c", code], log_path=tmp_path / "child.log")
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def test_ready_when_the_condition_holds(python: StartPython) -> None:
    process = python("print('ready', flush=True); import time; time.sleep(600)")
    process.wait_until(lambda: "ready" in process.log_text())
    assert not process.has_ended()


def test_a_process_that_ends_too_early_is_reported_with_its_log(python: StartPython) -> None:
    process = python("print('the disk is full'); raise SystemExit(3)")
    with pytest.raises(Unreachable, match=r"(?s)exit code 3.*the disk is full.*child\.log"):
        process.wait_until(lambda: False)


def test_a_process_that_is_never_ready_is_reported_and_ended(python: StartPython) -> None:
    process = python("import time; print('still thinking', flush=True); time.sleep(600)")
    with pytest.raises(Unreachable, match=r"(?s)not ready in time.*Remedy: Read"):
        process.wait_until(lambda: False, timeout_seconds=0.3)
    assert process.has_ended()


def test_a_stubborn_process_and_its_children_are_killed(python: StartPython) -> None:
    process = python(STUBBORN)
    process.wait_until(lambda: "child" in process.log_text())
    grandchild = int(process.log_text().split()[1])
    process.stop(grace_seconds=0.2)
    assert process.has_ended()
    # The group's signal is on its way to the grandchild when the child is gone already.
    while is_alive(grandchild):
        time.sleep(0.02)
    process.stop()


def test_without_setpriv_a_process_runs_all_the_same(
    python: StartPython, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on macOS, which has none: only a parent that is killed leaves its children behind then."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dies_with_parent(["program"]) == ["program"]
    process = python("print('ready', flush=True); import time; time.sleep(600)")
    process.wait_until(lambda: "ready" in process.log_text())
    process.stop()
    assert process.has_ended()


def test_a_thread_may_not_start_a_process(tmp_path: Path) -> None:
    raised: list[BaseException] = []

    def start() -> None:
        try:
            Process("child", ["true"], log_path=tmp_path / "log").start()
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(raised[0])


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == len(ports)
    with socket.create_server((LOCALHOST, ports[0])):
        pass


def test_a_closed_port_does_not_answer() -> None:
    assert not answers_http(f"http://{LOCALHOST}:{free_port()}/")


def test_errors_of_a_missing_program_come_through(tmp_path: Path) -> None:
    process = Process("ghost", ["/nonexistent/program"], log_path=tmp_path / "log")
    process.start()
    with pytest.raises(Unreachable, match="ghost"):
        process.wait_until(lambda: False)


def test_the_log_belongs_to_the_process_alone(python: StartPython) -> None:
    process = python("import sys; print('out'); print('err', file=sys.stderr)")
    with pytest.raises(Unreachable):
        process.wait_until(lambda: False)
    assert {"out", "err"} <= set(process.log_tail().split())


def test_where_no_memory_can_be_used_as_a_disk_tests_use_the_disk(tmp_path: Path) -> None:
    """As on macOS, which has no /dev/shm."""
    assert not roomy(str(tmp_path / "shm"))
