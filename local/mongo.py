"""A MongoDB stand-in on 127.0.0.1: SecantusDB, which presents itself as a replica set of one node.

It is a separate process (it is GPL software and not part of this program). It has no login and no TLS.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from local.processes import LOCALHOST, Process, free_port


@dataclass(frozen=True)
class MongoServer:
    """A running MongoDB server."""

    process: Process
    port: int

    @property
    def url(self) -> str:
        """The URL ``mongodb://127.0.0.1:port/``."""
        return f"mongodb://{LOCALHOST}:{self.port}/"

    def drop_database(self, name: str) -> None:
        """Drop the database if it is there."""
        with MongoClient[dict[str, object]](self.url) as client:
            client.drop_database(name)

    def stop(self) -> None:
        """Stop the server; its data stays in its directory."""
        self.process.stop()


def launch_mongo(directory: Path) -> MongoServer:
    """Start a server without waiting for it; its data is in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [str(Path(sys.executable).with_name("secantusd-py")), "--host", LOCALHOST, "--port", str(port)]
    process = Process(
        "mongo",
        [*command, "--storage-path", str(directory / "data"), "--log-level", "WARNING"],
        log_path=directory / "mongo.log",
    )
    process.start()
    return MongoServer(process, port)


def start_mongo(directory: Path) -> MongoServer:
    """Start a server and wait until it answers. Raises Unreachable if it does not start."""
    return wait_for_mongo(launch_mongo(directory))


def wait_for_mongo(server: MongoServer) -> MongoServer:
    """Wait until a launched server answers a ping."""
    server.process.wait_until(lambda: _answers(server.url))
    return server


def _answers(url: str) -> bool:
    with MongoClient[dict[str, object]](url, serverSelectionTimeoutMS=200) as client:
        try:
            client.admin.command("ping")
        except PyMongoError:
            return False
        return True
