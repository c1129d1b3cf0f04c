"""The address of a server: whether its name is known, its port open, and until when its certificate is valid."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from datetime import UTC, datetime

from millrace.base.errors import CREDENTIALS_REMEDY, ConfigurationError, MillraceError, Unreachable
from millrace.checks.certificate import Protocol, fetch_certificate
from millrace.checks.check import SECURITY_GROUP_OF_TASKS, Check

TIMEOUT_SECONDS = 5.0
NETWORK_PAGE = "docs/guides/network.md"
_RDS = re.compile(r"(?P<instance>[^.]+)\..+\.rds\.amazonaws\.com(\.cn)?")


@dataclass(frozen=True)
class Server:
    """A server, and the variable whose URL names it."""

    place: str
    """How outcomes name it: ``source-postgres``."""
    variable: str
    """The variable that holds its URL."""
    addresses: tuple[tuple[str, int], ...]
    """Hosts with ports; a replica set of MongoDB has several."""
    user: str
    """The user of the URL; '' if it names none."""
    protocol: Protocol | None
    """How a client asks for TLS; None: its URL asks for none."""

    @property
    def host(self) -> str:
        """The first host."""
        return self.addresses[0][0]

    def checks(self) -> list[Check]:
        """Return the checks of the address, which come before a login."""
        address = Check(self.place, "address", "Resolves the name and opens a connection.", self._find_address, True)
        certificate = Check(self.place, "certificate", "Reads the server's certificate.", self._check_certificate)
        return [address, certificate] if self.protocol else [address]

    def correct_credentials(self, error: MillraceError) -> MillraceError:
        """Return the error of a login, with the variable to correct where user or password was refused."""
        if error.remedy != CREDENTIALS_REMEDY.rstrip("."):
            return error
        remedy = (
            f"correct user and password in {self.variable} (percent-encoded); of a deployed environment: "
            f"`{self.variable}='…' python -m infra.deploy up --env NAME --set-secrets`"
        )
        return type(error)(error.problem, place=error.place, remedy=remedy)

    def _find_address(self) -> str:
        return ", ".join(self._connect(host, port) for host, port in self.addresses)

    def _connect(self, host: str, port: int) -> str:
        try:
            with socket.create_connection((host, port), TIMEOUT_SECONDS) as connection:
                address = connection.getpeername()[0]
        except socket.gaierror:
            raise ConfigurationError(
                f"the name {host} is not known here",
                remedy=f"correct the host in {self.variable}; a private name of another network needs that network's "
                f"DNS: see with `nslookup {host}`",
            ) from None
        except TimeoutError:
            problem = f"{host}:{port} does not answer within {TIMEOUT_SECONDS:.0f} s: something drops the packets"
            raise Unreachable(problem, remedy=_let_in(host, port)) from None
        except OSError as error:
            raise Unreachable(
                f"{host}:{port} refuses the connection ({error.strerror or type(error).__name__})",
                remedy=f"see that the server runs, and that host and port in {self.variable} are right",
            ) from None
        return f"{host}:{port} ({address})" if address != host else f"{host}:{port}"

    def _check_certificate(self) -> str:
        host, port = self.addresses[0]
        certificate = fetch_certificate(host, port, self.protocol or "tls")
        if certificate is None:
            return "the server offers no TLS"
        valid_until = certificate.not_valid_after_utc
        until = f"{valid_until:%Y-%m-%d %H:%M} UTC"
        if valid_until <= datetime.now(UTC):
            raise ConfigurationError(f"the certificate of {host} expired at {until}", remedy=_renew(host))
        return f"valid until {until}, issued by {certificate.issuer.rfc4514_string()}"


def _let_in(host: str, port: int) -> str:
    if not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return f"let port {port} through at the server's firewall or allow-list, and see {NETWORK_PAGE}"
    return (
        "let the tasks in: `aws ec2 authorize-security-group-ingress --group-id SECURITY_GROUP_OF_THE_SERVER "
        f"--protocol tcp --port {port} --source-group {SECURITY_GROUP_OF_TASKS}`; a server in another VPC needs a way "
        f"to it as well ({NETWORK_PAGE})"
    )


def _renew(host: str) -> str:
    if match := _RDS.fullmatch(host):
        return (
            f"`aws rds modify-db-instance --db-instance-identifier {match['instance']} --ca-certificate-identifier "
            "rds-ca-rsa2048-g1 --apply-immediately`"
        )
    return "give the server a new certificate, and restart or reload it"
