"""Child processes of the local stack: start them, wait until they are ready, and never leave one behind.

Every child runs in its own session, so that Ctrl-C in the terminal reaches only the stack, and the stack stops its
children in order. If the stack itself is killed, the kernel signals each child (PR_SET_PDEATHSIG, set by ``setpriv`` of
util-linux).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from millrace.base.errors import Unreachable

LOCALHOST = "127.0.0.1"
POLL_SECONDS = 0.02
LOG_TAIL_LINES = 15


def lasting_port(file: Path) -> int:
    """Return the port in this file if it is free, else write another one into it."""
    with suppress(OSError, ValueError), socket.socket() as listener:
        port = int(file.read_text())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOCALHOST, port))
        return port
    port = free_port()
    file.write_text(str(port))
    return port


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that the kernel gives to nobody else for the next minute.

    A connection is made and closed on it: the port stays in TIME_WAIT, which a server may bind (they all set
    SO_REUSEADDR) while neither another search for a free port nor an outgoing connection gets it.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOCALHOST, 0))
        listener.listen(1)
        with socket.socket() as client:
            client.connect(listener.getsockname())
            accepted, _ = listener.accept()
            accepted.close()
            return int(listener.getsockname()[1])


def dies_with_parent(command: Sequence[str], signal_name: str = "TERM") -> list[str]:
    """Wrap a command so that it gets a signal when the thread that started it is gone.

    Without ``setpriv`` (macOS) the command stays as it is: only a killed parent leaves children then.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signal_name, "--", *command] if setpriv else list(command)


def neutral_environment() -> dict[str, str]:
    """Return the environment of this process without what points at other servers (AWS_PROFILE, PREFECT_API_KEY, …)."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PREFECT_"))}


class Identity(TypedDict, total=False):
    """The part of subprocess's arguments that says who runs the command."""

    user: str
    group: int
    extra_groups: list[int]


def as_user(name: str | None) -> Identity:
    """Arguments for subprocess that run a command as this user and in its group alone; None changes nothing."""
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []} if name else {}


def answers_http(url: str) -> bool:
    """Return whether the URL answers with a success status now."""
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - only ever our own server # nosec B310
            return True
    except (urllib.error.URLError, OSError):
        return False


class Process:
    """One child process that writes its output to a log file.

    ``stop_signal`` asks it to end in good order; it also gets that signal when this process dies.
    ``user`` is a user to run as (only root can choose one).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: str | None = None,
        working_directory: Path | None = None,
    ) -> None:
        self.name, self.command, self.log_path = name, list(command), log_path
        self.environment = dict(neutral_environment() if environment is None else environment)
        self.stop_signal, self.user = stop_signal, user
        self.working_directory = working_directory or log_path.parent
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def process_id(self) -> int:
        """The id of the running process; RuntimeError if it was not started."""
        return self._require_started().pid

    def _require_started(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._popen

    def start(self) -> None:
        """Start the process, in the main thread only.

        The kernel takes the end of the thread that started a child for the end of its parent.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{self.name}: start it in the main thread, else it dies with this thread")
        command = dies_with_parent(self.command, self.stop_signal.name.removeprefix("SIG"))
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.working_directory,
                start_new_session=True,
                **as_user(self.user),
            )

    def wait_until(self, ready: Callable[[], bool], *, timeout_seconds: float = 60) -> None:
        """Wait until ``ready`` returns true.

        If the process ends first, or the time is over, or the wait is interrupted, the process is stopped;
        the first two raise Unreachable with the end of the log.
        """
        try:
            self._poll(ready, time.monotonic() + timeout_seconds)
        except BaseException:
            self.stop()
            raise

    def _poll(self, ready: Callable[[], bool], deadline: float) -> None:
        popen = self._require_started()
        while not ready():
            if popen.poll() is not None:
                raise self._failure(f"ended with exit code {popen.returncode} before it was ready")
            if time.monotonic() > deadline:
                raise self._failure("was not ready in time")
            time.sleep(POLL_SECONDS)

    def log_text(self) -> str:
        """Return what the process has written to stdout and stderr."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log_text().splitlines()[-LOG_TAIL_LINES:])

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._require_started().poll() is not None

    def _failure(self, problem: str) -> Unreachable:
        problem = f"{problem}. The end of its log:\n{self.log_tail()}\n"
        return Unreachable(problem, place=self.name, remedy=f"Read {self.log_path}")

    def stop(self, *, grace_seconds: float = 10) -> None:
        """End the process in good order; after the grace, kill it and its whole group. Safe to repeat."""
        if self._popen is None:
            return
        if self._popen.poll() is None:
            self._popen.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace_seconds)
        self.kill()

    def kill(self) -> None:
        """Kill the process and its whole group at once. Safe to repeat."""
        if self._popen is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
