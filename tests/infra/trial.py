"""An environment that tests deploy to: the emulator of AWS, a Prefect server of its own, and the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient
from typer.testing import CliRunner

from infra.deploy import application
from infra.deployments import read_stored
from local.processes import LOCALHOST
from local.stack import Stack

SECRET = "s3cr3t-W0rd"
SETTINGS = """
account = "123456789012"
pipelines = ["stori", "events", "stocks"]
prefect_api_url = "https://prefect.example.com/api"
alert_email = "data@example.com"
"""
COMMIT = "c0ffee" * 6 + "c0ff"
NOT_PASSED_ON = {"host", "content-length", "accept-encoding", "connection"}


@dataclass(frozen=True)
class Trial:
    """An environment, and the command with which it is made."""

    stack: Stack
    directory: Path
    client: SyncPrefectClient
    variables: dict[str, str]

    def run(self, *arguments: str, exit_code: int = 0, **variables: str) -> str:
        """Everything the command said."""
        file = self.directory / "trial.toml"
        # Nothing here runs tasks; tests/ecs has an agent that does.
        arguments = (*arguments, "--no-check") if arguments[0] == "up" else arguments
        done = CliRunner().invoke(
            application, [arguments[0], "--env", str(file), *arguments[1:]], env=self.variables | variables
        )
        assert done.exit_code == exit_code, done.output + repr(done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        assert SECRET not in done.output
        return done.output

    def changes(self, *arguments: str, **variables: str) -> dict[str, str]:
        """What was done or would be to what; the unchanged left out."""
        found = json.loads(self._json(self.run(*arguments, "--json", **variables)))
        changed = [one for one in found if one["action"] not in ("unchanged", "left")]
        return {f"{one['kind']} {one['name']}".strip(): one["action"] for one in changed}

    def _json(self, output: str) -> str:
        return output[output.index("\n[") + 1 :]

    def settings(self, text: str) -> None:
        """Write the environment's file."""
        (self.directory / "trial.toml").write_text(text)

    def aws(self, service: str) -> Any:
        """A client of the emulator."""
        return self.stack.aws.client(service)

    def outputs(self) -> dict[str, str]:
        """Of the stack."""
        found = self.aws("cloudformation").describe_stacks(StackName="millrace-trial")["Stacks"][0]["Outputs"]
        return {one["OutputKey"]: one["OutputValue"] for one in found}

    def remove_one_of_each(self) -> None:
        """Delete a deployment and an automation."""
        if deployment := read_stored(self.client, "replicate/stori"):
            self.client.delete_deployment(deployment.id)
        for automation in self.client.request("POST", "/automations/filter", json={}).json():
            if automation["name"] == "millrace: crashed":
                self.client.request("DELETE", "/automations/{id}", path_params={"id": automation["id"]})

    def push(self, tag: str) -> None:
        """What the builder would have pushed."""
        self.aws("ecr").put_image(
            repositoryName="millrace-trial", imageTag=tag, imageManifest=json.dumps({"schemaVersion": 2, "tag": tag})
        )


@contextmanager
def refusing(api_url: str, path: str) -> Iterator[str]:
    """The address of a server that passes everything on to Prefect's, and refuses to create anything at this path."""

    class Refusing(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command == "POST" and self.path == path:
                self.answer(403, b'{"detail": "Your plan allows no more"}', "application/json")
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON}
            url = api_url.removesuffix("/api") + self.path
            answer = httpx.request(self.command, url, content=body, headers=headers, timeout=60)
            self.answer(answer.status_code, answer.content, answer.headers.get("Content-Type", "application/json"))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815 - names of http.server

        def answer(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Keep the output of the tests to what they say."""

    with ThreadingHTTPServer((LOCALHOST, 0), Refusing) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{LOCALHOST}:{server.server_port}/api"
        server.shutdown()
        thread.join()
