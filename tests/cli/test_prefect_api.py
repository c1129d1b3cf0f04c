"""Prefect's API that does not answer, or is none, or denies access: one line with its remedy, for every command."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_HOME,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)
from typer.testing import CliRunner

from local.prefect_server import PrefectServer
from local.processes import free_port
from millrace.base.errors import Unreachable
from millrace.blocks.bootstrap import bootstrap
from millrace.cli.main import application
from millrace.flows.automations import apply_automations

COMMANDS = [
    ("run", "stori"),
    ("run", "stori", "--json"),
    ("plan", "stori"),
    ("sweep", "stori"),
    ("replay", "stori"),
    ("rejects", "stori"),
    ("views", "totesys"),
    ("collect", "events"),
    ("chart", "events"),
    ("seed", "stori"),
    ("seed", "totesys"),
    ("simulate", "events"),
]


def told(*arguments: str) -> tuple[int, str]:
    """Exit code, and the one line on stderr; nothing is on stdout."""
    done = CliRunner().invoke(application, arguments)
    lines = [line for line in done.stderr.splitlines() if line.startswith("millrace: ")]
    assert "Traceback" not in done.stderr
    assert (len(lines), done.stdout) == (1, ""), done.stderr
    return done.exit_code, lines[0]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_says_in_one_line_that_the_server_does_not_answer(command: tuple[str, ...]) -> None:
    address = f"http://user:s3cr3t@127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: address}):
        code, line = told(*command)
    assert code == 1
    assert "Prefect's API: http://***@127.0.0.1:" in line
    assert "/api cannot be reached" in line
    assert "Remedy: see that PREFECT_API_URL is right" in line


@pytest.mark.parametrize("path", ["", "/api/nowhere", "/nowhere"])
def test_an_address_of_something_else_is_told_how_the_right_one_ends(prefect_server: PrefectServer, path: str) -> None:
    with temporary_settings({PREFECT_API_URL: f"{prefect_server.ui_url}{path}"}):
        code, line = told("run", "stori")
    assert code == 2
    assert "what answers at" in line
    assert "the address ends in /api" in line


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that answers everything with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(request.param)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815 (http.server's name)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answering", "code", "words"),
    [
        (401, 2, "denies access (HTTP 401). Remedy: set PREFECT_API_KEY"),
        (403, 2, "denies access (HTTP 403). Remedy: set PREFECT_API_KEY"),
        (500, 1, "fails (HTTP 500)"),
        (200, 2, "is not Prefect's API ("),
    ],
    indirect=["answering"],
)
def test_an_answer_that_denies_access_or_fails_is_told_with_its_status(answering: str, code: int, words: str) -> None:
    with temporary_settings({PREFECT_API_URL: answering, PREFECT_CLIENT_MAX_RETRIES: 0}):
        ended, line = told("rejects", "stori")
    assert ended == code
    assert words in line


@pytest.mark.parametrize(
    ("address", "expected"), [("localhost:4200/api", 2), ("ftp://localhost/api", 2), ("http://", 1)]
)
def test_an_address_that_is_no_url_is_told_with_its_remedy(address: str, expected: int) -> None:
    with temporary_settings({PREFECT_API_URL: address}):
        code, line = told("run", "stori")
    assert code == expected
    assert "Remedy: see that PREFECT_API_URL is right" in line


def test_a_temporary_server_that_starts_too_slowly_is_told_with_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One that another test of this process started would be used.
    monkeypatch.setattr(SubprocessASGIServer, "_instances", {})
    settings = {PREFECT_API_URL: None, PREFECT_HOME: tmp_path, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 0}
    with temporary_settings(settings, restore_defaults={PREFECT_API_URL}):
        code, line = told("run", "stori")
    assert code == 1
    assert line.count("raise PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS") == 1


async def test_the_bootstrap_and_the_automations_say_the_same(environment: dict[str, str]) -> None:
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        for work in (lambda: bootstrap(environment), lambda: apply_automations(fresh_within={})):
            with pytest.raises(Unreachable, match="Prefect's API"):
                await work()
