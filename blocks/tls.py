"""TLS of SQL connections: a server that is not this machine is verified, unless the URL says less.

It is settled where a connection is opened: the path of a file of authorities is right on one machine only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from millrace.drivers.authorities import authorities_for, is_on_this_machine, tell_unverified

_OF_LIBPQ = frozenset({"sslmode", "sslrootcert"})
_VERIFYING = frozenset({"verify-ca", "verify-full"})


def add_verification(backend: str, host: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a driver: its dialect's ``defaults``, what is ``given``, and what verifies the server.

    ``backend`` is ``mysql``, ``postgresql`` or ``redshift``; ``given`` is what the URL and the block say.
    """
    if backend == "mysql":
        return {**defaults, **given, **_of_pymysql(host, given)}
    plain = {name: value for name, value in defaults.items() if name not in _OF_LIBPQ}
    return {**plain, **given, **_of_libpq(host, given)}


def _of_libpq(host: str, given: Mapping[str, Any]) -> dict[str, Any]:
    is_near = is_on_this_machine(host)
    mode = given.get("sslmode") or os.environ.get("PGSSLMODE") or ("prefer" if is_near else "verify-full")
    root = given.get("sslrootcert") or os.environ.get("PGSSLROOTCERT") or "system"
    if mode != "verify-full" and not is_near:
        tell_unverified(host, f"sslmode={mode}")
    if root != "system":
        return {"sslmode": mode, "sslrootcert": root}
    return {"sslmode": mode, "sslrootcert": authorities_for(host)} if mode in _VERIFYING else {"sslmode": mode}


def _of_pymysql(host: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if not (given.get("ssl_verify_identity") or is_on_this_machine(host)):
        tell_unverified(host, "less than ssl_mode=verify_identity")
    return {"ssl_ca": authorities_for(host)} if given.get("ssl_ca") == "" else {}
