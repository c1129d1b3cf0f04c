"""`make audit` fails on a known vulnerability, and only then: a database that is out of reach is told and passed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from local.processes import LOCALHOST, free_port

REPOSITORY = Path(__file__).parents[2]
FLAW = {
    "id": "PYSEC-2019-217",
    "summary": "a sandbox that is none",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.10.1"}]}],
        }
    ],
}


class Osv(ThreadingHTTPServer):
    """The database's interface; it knows a flaw of jinja2 2.10, unless ``status`` is an error."""

    def __init__(self, status: int = 200) -> None:
        super().__init__((LOCALHOST, 0), _Answers)
        self.status = status

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.server_port}/v1/query"


class _Answers(BaseHTTPRequestHandler):
    server: Osv

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_flawed = (asked["package"]["name"], asked["version"]) == ("jinja2", "2.10")
        answer = json.dumps({"vulns": [FLAW]} if is_flawed else {}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def osv(request: pytest.FixtureRequest) -> Iterator[Osv]:
    with Osv(getattr(request, "param", 200)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def audit(directory: Path, url: str, requirement: str) -> subprocess.CompletedProcess[str]:
    lock = directory / "requirements.txt"
    lock.write_text(f"{requirement} --hash=sha256:{'0' * 64}\n")
    command = [sys.executable, ".ci/audit.py", str(lock), "--osv-url", url]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_a_known_vulnerability_fails(osv: Osv, tmp_path: Path) -> None:
    done = audit(tmp_path, osv.url, "jinja2==2.10")
    assert done.returncode == 1
    assert "PYSEC-2019-217" in done.stdout
    assert "2.10.1" in done.stdout


def test_a_version_without_one_passes(osv: Osv, tmp_path: Path) -> None:
    done = audit(tmp_path, osv.url, "jinja2==3.1.6")
    assert done.returncode == 0, done.stderr
    assert "NOT AUDITED" not in done.stdout
    assert "No known vulnerabilities found" in done.stderr


def test_a_database_out_of_reach_passes_and_is_told(tmp_path: Path) -> None:
    done = audit(tmp_path, f"http://{LOCALHOST}:{free_port()}/v1/query", "jinja2==2.10")
    assert done.returncode == 0
    assert done.stdout.startswith("NOT AUDITED: http://127.0.0.1:")


@pytest.mark.parametrize("osv", [403, 503], indirect=True)
def test_so_is_a_database_that_is_shut(osv: Osv, tmp_path: Path) -> None:
    done = audit(tmp_path, osv.url, "jinja2==2.10")
    assert done.returncode == 0
    assert f"HTTP Error {osv.status}" in done.stdout
