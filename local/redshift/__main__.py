"""``python -m local.redshift``: starts the stand-in and serves until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import threading
from types import FrameType
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from local.redshift import BACKEND_URL
from local.redshift.catalog import StandInCatalog
from local.redshift.inject import Injector
from local.redshift.session import ISOLATION, Services, Session
from local.redshift.storage import Storage

HOST = "127.0.0.1"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.redshift",
        description=f"A strict stand-in for Redshift before {BACKEND_URL}",
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--s3-endpoint", required=True, help="URL of the S3 service; credentials from AWS_*")
    parser.add_argument("--isolation", choices=sorted(ISOLATION), default="snapshot")
    parser.add_argument("--ready-line", action="store_true", help="print 'redshift ready port=N' when listening")
    return parser.parse_args()


def _services(arguments: argparse.Namespace) -> Services:
    backend_url = os.environ[BACKEND_URL]
    backend = urlsplit(backend_url)
    catalog = StandInCatalog(backend_url)
    catalog.install()
    return Services(
        (backend.hostname or HOST, backend.port or 5432),
        unquote(backend.path.lstrip("/")),
        catalog,
        Storage(arguments.s3_endpoint),
        Injector(),
        arguments.isolation,
    )


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def main() -> None:
    """Listen and give each client a thread of its own."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    services = _services(arguments)
    with socket.create_server((HOST, arguments.port), backlog=128) as listener:
        if arguments.ready_line:
            print(f"redshift ready port={listener.getsockname()[1]}", flush=True)
        while True:
            connected, _ = listener.accept()
            threading.Thread(target=Session(connected, services).run, daemon=True).start()


if __name__ == "__main__":
    main()
