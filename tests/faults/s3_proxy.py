"""An HTTP proxy before the S3 endpoint that answers wrongly, late or not at all, as it is told.

Requests go on as they came, with the host that was signed.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

HANG_SECONDS = 0.2
NOT_FORWARDED = frozenset({"expect", "connection", "transfer-encoding"})
ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>"


class S3Proxy:
    """Listens on ``url`` in front of another; a context manager. A fault is the name of a method of ``_Handler``."""

    def __init__(self, target: str) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._lock, self._faults = threading.Lock(), list[tuple[str, str, str]]()
        self.target = urlsplit(target).netloc
        self.struck = 0

    @property
    def url(self) -> str:
        """The endpoint to use."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def fail(self, method: str, fault: str, times: int = 1, *, key: str = "") -> None:
        """Let the next requests of a method fail whose path holds ``key``."""
        with self._lock:
            self._faults += [(method, key, fault)] * times

    def heal(self) -> None:
        """Forget all faults that did not strike."""
        with self._lock:
            self._faults.clear()

    def strike(self, method: str, path: str) -> str:
        """The fault of this request, or the name of the method that forwards it."""
        with self._lock:
            for fault in self._faults:
                if fault[0] == method and fault[1] in path:
                    self._faults.remove(fault)
                    self.struck += 1
                    return fault[2]
        return "forward"

    def __enter__(self) -> S3Proxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: S3Proxy

    def handle_request(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        getattr(self, self.proxy.strike(self.command, self.path))()

    def forward(self) -> None:
        """Pass the emulator's answer on."""
        self._answer(*self._ask())

    def error_500(self) -> None:
        """The request is lost in the service."""
        self._fail(500, "InternalError")

    def slow_down(self) -> None:
        """The service throttles."""
        self._fail(503, "SlowDown")

    def stored_then_500(self) -> None:
        """The service did it, and says that it failed."""
        self._ask()
        self._fail(500, "InternalError")

    def stored_then_lost(self) -> None:
        """The service did it, and the answer never comes."""
        self._ask()
        self.close_connection = True

    def hang(self) -> None:
        """Nothing for a while, then the line is closed."""
        time.sleep(HANG_SECONDS)
        self.close_connection = True

    def half(self) -> None:
        """Half of the answer, then the line is closed."""
        status, headers, body = self._ask()
        self._answer(status, headers, body[: len(body) // 2])
        self.close_connection = True

    def slow(self) -> None:
        """The answer in small pieces."""
        status, headers, body = self._ask()
        self._answer(status, headers, b"")
        for start in range(0, len(body), 512):
            time.sleep(HANG_SECONDS / 20)
            self.wfile.write(body[start : start + 512])

    def _ask(self) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.proxy.target)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_FORWARDED}
        connection.request(self.command, self.path, self.body, headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), body

    def _fail(self, status: int, code: str) -> None:
        body = b"" if self.command == "HEAD" else ERROR.format(code=code).encode()
        self._answer(status, [("Content-Length", str(len(body)))], body)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in NOT_FORWARDED:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


for _method in ("GET", "PUT", "HEAD", "POST"):
    setattr(_Handler, f"do_{_method}", _Handler.handle_request)


def _handler_of(proxy: S3Proxy) -> Callable[..., BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"proxy": proxy})
