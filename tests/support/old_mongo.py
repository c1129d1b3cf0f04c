"""A server that speaks so much of MongoDB's protocol as to say how old it is, and what else it is."""

from __future__ import annotations

import socketserver
import struct
import threading
from typing import Any

import bson

from local.processes import LOCALHOST

HEADER = struct.Struct("<iiii")
REPLY, MESSAGE, QUERY = 1, 2013, 2004


def start_old_mongo(wire_version: int, **fields: Any) -> socketserver.ThreadingTCPServer:
    """Start a server whose newest wire version this is, and that says ``fields`` of itself; shut it down at the end."""
    told = {"ismaster": True, "isWritablePrimary": True, "minWireVersion": 0, "maxWireVersion": wire_version, "ok": 1.0}
    answer = bson.encode(told | fields)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while len(head := self.rfile.read(HEADER.size)) == HEADER.size:
                length, request, _, operation = HEADER.unpack(head)
                self.rfile.read(length - HEADER.size)
                is_query = operation == QUERY
                body = struct.pack("<iqii", 8, 0, 0, 1) + answer if is_query else struct.pack("<iB", 0, 0) + answer
                kind = REPLY if is_query else MESSAGE
                self.wfile.write(HEADER.pack(HEADER.size + len(body), 0, request, kind) + body)

    server = socketserver.ThreadingTCPServer((LOCALHOST, 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
