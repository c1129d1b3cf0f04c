"""``redshift+iam://``: Redshift with credentials that AWS mints for the role with which this runs.

It is a dialect of SQLAlchemy, so that every connection mints its own: of an engine as well as of ``sql.opener``.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.engine import URL
from sqlalchemy_redshift.dialect import RedshiftDialect_psycopg2
from typing_extensions import override

from millrace.base.errors import ConfigurationError
from millrace.drivers.redshift_credentials import OPTIONS, Minter, RedshiftAccess, access_of

REDSHIFT_IAM_DRIVER = "redshift+iam"
registry.register("redshift.iam", __name__, "RedshiftByIam")


def access_by_iam(url: URL, place: str) -> RedshiftAccess:
    """Return what AWS is asked for. Raises ConfigurationError, naming ``place``, if the URL does not say it."""
    if url.password:
        raise ConfigurationError(
            f"{REDSHIFT_IAM_DRIVER}:// takes no password",
            place=place,
            remedy="leave it out, or write redshift:// to log in with it",
        )
    options = {name: str(value) for name, value in url.query.items()}
    return access_of(url.host or "", url.database or "", url.username or "", options, place=place)


class RedshiftByIam(RedshiftDialect_psycopg2):  # type: ignore[misc]  # sqlalchemy_redshift has no types
    """Redshift's dialect, whose connections log in with minted credentials."""

    supports_statement_cache = False
    _minter: Minter

    @override
    def create_connect_args(self, url: URL) -> Any:
        self._minter = Minter(access_by_iam(url, REDSHIFT_IAM_DRIVER))
        return super().create_connect_args(url.difference_update_query(OPTIONS).set(username=None))

    @override
    def connect(self, *positional: Any, **named: Any) -> Any:
        minted = self._minter.credentials()
        return super().connect(*positional, **{**named, "user": minted.user, "password": minted.password})
