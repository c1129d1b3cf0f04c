"""The certificate that a server presents, whoever signed it: libpq says only that it could not be verified."""

from __future__ import annotations

import socket
import ssl
from typing import Literal

from cryptography import x509

from millrace.base.errors import Unreachable

Protocol = Literal["postgres", "mysql", "tls"]
"""How a client asks for TLS: by a request of the protocol of Postgres or MySQL, or at once."""
TIMEOUT_SECONDS = 5.0
POSTGRES_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""SSLRequest of Postgres's protocol; the server answers S or N."""
MYSQL_TLS = 0x0800
MYSQL_CAPABILITIES = 0x0200 | 0x8000 | MYSQL_TLS
"""PROTOCOL_41, SECURE_CONNECTION and SSL."""
MYSQL_REQUEST = (
    (32).to_bytes(3, "little") + b"\x01" + MYSQL_CAPABILITIES.to_bytes(4, "little") + (2**24).to_bytes(4, "little")
) + bytes([45, *[0] * 23])
"""SSLRequest of MySQL's protocol: header, capabilities, largest packet, character set, filler."""


def fetch_certificate(host: str, port: int, protocol: Protocol) -> x509.Certificate | None:
    """Return the certificate of a server without verifying it; None if the server offers no TLS.

    Raises Unreachable if the server ends the connection.
    """
    context = ssl.create_default_context()
    # It is looked at and not trusted: no secret is sent over this connection.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), TIMEOUT_SECONDS) as connection:
            if not _offers_tls(connection, protocol):
                return None
            with context.wrap_socket(connection, server_hostname=host) as wrapped:
                certificate = wrapped.getpeercert(binary_form=True)
    except OSError as error:
        raise Unreachable(
            f"{host}:{port} ends the connection when it is asked for TLS ({type(error).__name__})",
            remedy="see that host and port are those of the server, and that it offers TLS",
        ) from None
    return x509.load_der_x509_certificate(certificate) if certificate else None


def _offers_tls(connection: socket.socket, protocol: Protocol) -> bool:
    if protocol == "postgres":
        connection.sendall(POSTGRES_REQUEST)
        return connection.recv(1) == b"S"
    if protocol == "mysql":
        return _asks_mysql(connection)
    return True


def _asks_mysql(connection: socket.socket) -> bool:
    """Read the greeting, and ask for TLS if the server's capabilities have it."""
    greeting = connection.recv(4096)
    # Header (4), version of the protocol (1), version of the server (ends with 0), thread (4), salt (8), filler (1).
    end_of_version = greeting.find(b"\0", 5)
    capabilities = int.from_bytes(greeting[end_of_version + 14 : end_of_version + 16], "little")
    if end_of_version < 0 or not capabilities & MYSQL_TLS:
        return False
    connection.sendall(MYSQL_REQUEST)
    return True
