"""The parts of AWS's API that mint credentials of Redshift, as a server on this machine.

What it mints is real: it makes the user in the Postgres that stands behind the warehouse, with an end to its password.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from local.processes import LOCALHOST

ASSUMED_KEY = "ASIAASSUMEDROLE"
XML = """<{action}Response><{action}Result>{fields}</{action}Result></{action}Response>"""


@dataclass
class CredentialsApi:
    """What was asked, and what is answered."""

    execute: Callable[[str], Any]
    """Runs a statement as the superuser of Postgres."""
    said_lifetime: timedelta = timedelta(minutes=15)
    lifetime: timedelta | None = None
    """How long a password really holds; None: as said."""
    refusal: tuple[int, str] | None = None
    """Status and code of the answer in place of credentials."""
    asked: list[dict[str, str]] = field(default_factory=list)
    """The parameters of every request, with the action, and the access key that signed it."""
    minted: list[tuple[str, str]] = field(default_factory=list)
    """User and password of all credentials."""

    def mint(self, user: str) -> dict[str, str]:
        """Make the user, or change its password; the former one is worth nothing then."""
        password, now = f"p%/@ {len(self.minted)}", datetime.now(UTC)
        until = (now + (self.said_lifetime if self.lifetime is None else self.lifetime)).isoformat()
        known = self.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{user}'")
        self.execute(
            f"""{"ALTER" if known else "CREATE"} ROLE "{user}" LOGIN PASSWORD '{password}' VALID UNTIL '{until}'"""
        )
        self.minted.append((user, password))
        return {"DbUser": user, "DbPassword": password, "Expiration": (now + self.said_lifetime).isoformat()}

    def start(self) -> ThreadingHTTPServer:
        """Serve in a thread; shut it down at the end."""
        handler = type("Handler", (_Handler,), {"api": self})
        server = ThreadingHTTPServer((LOCALHOST, 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


class _Handler(BaseHTTPRequestHandler):
    api: CredentialsApi

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        target = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        asked = json.loads(body) if target else {name: values[0] for name, values in parse_qs(body).items()}
        action = target or asked["Action"]
        key = re.search(r"Credential=([^/]+)/\d+/([^/]+)", self.headers["Authorization"])
        assert key
        self.api.asked.append({**asked, "Action": action, "signed by": key[1], "region": key[2]})
        if self.api.refusal and action != "AssumeRole":
            self._refuse(*self.api.refusal, is_json=bool(target))
        elif action == "GetCredentials":
            minted = self.api.mint("IAMR:task")
            moment = datetime.fromisoformat(minted["Expiration"]).timestamp()
            self._answer(
                json.dumps({"dbUser": minted["DbUser"], "dbPassword": minted["DbPassword"], "expiration": moment})
            )
        elif action == "AssumeRole":
            until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
            names = {"AccessKeyId": ASSUMED_KEY, "SecretAccessKey": "s", "SessionToken": "t", "Expiration": until}
            self._answer(XML.format(action=action, fields=f"<Credentials>{_fields(names)}</Credentials>"))
        else:
            self._answer(XML.format(action=action, fields=_fields(self.api.mint(asked.get("DbUser", "IAMR:task")))))

    def _refuse(self, status: int, code: str, *, is_json: bool) -> None:
        xml = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
        self._answer(json.dumps({"__type": code, "message": "no"}) if is_json else xml, status)

    def _answer(self, body: str, status: int = 200) -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _fields(values: dict[str, str]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
