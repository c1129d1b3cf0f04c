"""A certificate authority of the tests' own, and the certificates that it signs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class Authority:
    """An authority; its own certificate is in ``path``."""

    path: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def sign(self, *hosts: str, days: int = 2) -> tuple[bytes, bytes]:
        """Return certificate and key of a server with these names; with negative ``days`` it expired so long ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        signed = _builder(hosts[0], self.certificate.subject, key, days).add_extension(names, critical=False)
        return _pem(signed.sign(self.key, hashes.SHA256())), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def make_authority(path: Path) -> Authority:
    """Make an authority, whose certificate is written to ``path``."""
    key, name = ec.generate_private_key(ec.SECP256R1()), "Authority of a test"
    is_authority = x509.BasicConstraints(ca=True, path_length=0)
    built = _builder(name, _named(name), key, 2).add_extension(is_authority, critical=True)
    certificate = built.sign(key, hashes.SHA256())
    path.write_bytes(_pem(certificate))
    return Authority(path, certificate, key)


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    until = datetime.now(UTC) + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - timedelta(days=9))
        .not_valid_after(until)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
