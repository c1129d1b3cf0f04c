"""Certificate authorities: the file with which the certificate of a server is verified, by the name of its host.

``python -m millrace.drivers.authorities`` tells what the file for servers on AWS holds, and until when.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import ssl
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import certifi

AWS_AUTHORITIES = Path(__file__).with_name("aws_authorities.pem")
"""The authorities of RDS, Aurora, DocumentDB and Redshift; the file says where they come from."""
AWS_AUTHORITIES_SHA256 = "bea54b7353b02db166d784ea4ca4cf3ade85a7d836a7538b2ce9c2131bd31969"
AWS_HOSTS = (
    ".rds.amazonaws.com",
    ".docdb.amazonaws.com",
    ".redshift.amazonaws.com",
    ".redshift-serverless.amazonaws.com",
)
SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""The authorities of the system: on Debian, on Red Hat, on SUSE, on macOS and Alpine."""
SYSTEM_VARIABLE = "SSL_CERT_FILE"
"""The variable that names another file of authorities, as OpenSSL knows it."""
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the file for servers on AWS."""

    name: str
    until: datetime


def authorities_for(host: str) -> str:
    """Return the path of the file with the authorities for a host: AWS's for its databases, else the system's."""
    return str(AWS_AUTHORITIES) if host.lower().rstrip(".").endswith(AWS_HOSTS) else system_authorities()


def system_authorities() -> str:
    """Return the path of the system's authorities.

    A path is needed: the OpenSSL within psycopg2's wheel looks for them in a folder that exists nowhere.
    """
    if given := os.environ.get(SYSTEM_VARIABLE):
        return given
    candidates = (ssl.get_default_verify_paths().cafile, *SYSTEM_FILES)
    return next((path for path in candidates if path and Path(path).is_file()), certifi.where())


def is_on_this_machine(host: str) -> bool:
    """Whether a host is this machine: a loopback address, ``localhost``, or the folder of a socket."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.startswith("/")


@cache
def tell_unverified(host: str, because: str) -> None:
    """Tell, once for each host, that a connection is made without knowing who answers."""
    _LOGGER.warning(
        "Connections to %s do not verify the server, because the URL says %s. Leave it out: then certificate and host "
        "name are verified.",
        host,
        because,
    )


def aws_authorities() -> list[Authority]:
    """Return the authorities for servers on AWS, the one that expires first first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(AWS_AUTHORITIES)
    return sorted(map(_authority, context.get_ca_certs()), key=lambda authority: (authority.until, authority.name))


def _authority(certificate: dict[str, Any]) -> Authority:
    subject = {name: value for part in certificate["subject"] for name, value in part}
    seconds = ssl.cert_time_to_seconds(certificate["notAfter"])
    return Authority(subject["commonName"], datetime.fromtimestamp(seconds, UTC))


def main() -> None:
    """Tell how many authorities there are, and which one expires first."""
    found = aws_authorities()
    sys.stdout.write(
        f"{AWS_AUTHORITIES}: {len(found)} authorities; {found[0].name} is valid until {found[0].until:%F}\n"
    )


if __name__ == "__main__":
    main()
