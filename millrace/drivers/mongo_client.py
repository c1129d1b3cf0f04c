"""The one place that knows Motor: clients, and PyMongo's errors as ours.

Motor is deprecated by its makers in favour of PyMongo's own async API; the change will be made here alone
(docs/extending.md, "In the place of Motor").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import pymongo
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import errors
from pymongo.uri_parser import split_options

from millrace.base.errors import (
    CREDENTIALS_REMEDY,
    ConfigurationError,
    FatalError,
    MillraceError,
    RetryableError,
    Unreachable,
)
from millrace.base.redact import redact
from millrace.drivers.authorities import authorities_for, is_on_this_machine, tell_unverified
from millrace.drivers.meanings import Meaning, Said, find_meaning

MongoClient: TypeAlias = AsyncIOMotorClient[dict[str, Any]]

APPLICATION_NAME = "millrace"
MAJORITY, ROUTER = "majority", "isdbgrid"
"""The level of reads that a majority of the members agrees on; what a router says of itself."""
SERVER_SELECTION_TIMEOUT_SECONDS = 10.0
SOCKET_TIMEOUT_SECONDS = 300.0
INSECURE_OPTIONS = ("tlsInsecure", "tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames")
CREDENTIALS_CODES = frozenset({18, 8000})
PERMISSION_CODE = 13
PASSING_CODES = frozenset(
    {43, 50, 91, 133, 136, 175, 189, 237, 262, 11600, 11601, 11602, 10107, 13435, 13436}
    | {24, 46, 112, 134, 239, 246}
    | {6, 7, 63, 89, 150, 202, 279, 317, 384, 9001, 10058, 13388}
)
"""A cursor or query that was ended, a time limit, a member that shuts down or steps down, no member to read from; a
lock, a conflict or a snapshot that is gone; what a router says of a member that it does not reach, or knows of no
more."""
RETRYABLE_LABELS = frozenset({"RetryableError", "TransientTransactionError", "ResumableChangeStreamError"})
CORRECT_THE_BLOCK = "correct the URL and options of the MongoDB block"
_MEANINGS = (
    Meaning(
        ConfigurationError,
        "upgrade the server: Amazon DocumentDB 5.0 or later, or MongoDB 5.0 or later",
        signs=("reports wire version",),
    ),
    Meaning(
        ConfigurationError,
        "name the authority that signed the server's certificate in tlsCAFile, and write the host by the name that the "
        "certificate is for; tlsAllowInvalidCertificates=true asks for less, and nobody knows who answers",
        signs=("CERTIFICATE_VERIFY_FAILED",),
    ),
    Meaning(
        Unreachable,
        "see that the server runs and speaks TLS; with tls=false passwords and documents travel as they are",
        signs=("SSL handshake failed",),
    ),
    Meaning(
        Unreachable,
        "run again",
        instead="the member that answered is no primary any more",
        classes=(errors.NotPrimaryError,),
    ),
    Meaning(
        Unreachable,
        "see that the server runs and that host, port and TLS options are right (to a server without TLS, tls=false)",
        classes=(errors.ConnectionFailure,),
    ),
    Meaning(ConfigurationError, CREDENTIALS_REMEDY, instead="user or password is refused", codes=CREDENTIALS_CODES),
    Meaning(
        ConfigurationError,
        "grant the role `read` on the database",
        instead="not authorized",
        codes={PERMISSION_CODE},
    ),
    Meaning(RetryableError, "run again, or raise the time limit", codes=PASSING_CODES, labels=RETRYABLE_LABELS),
    Meaning(ConfigurationError, CORRECT_THE_BLOCK, classes=(errors.ConfigurationError, errors.InvalidURI)),
)
"""The first meaning that fits an error is what it means."""


def open_client(
    url: str,
    *,
    tls: bool | None = None,
    tls_ca_file: str | None = None,
    retry_writes: bool | None = None,
    server_selection_timeout_seconds: float = SERVER_SELECTION_TIMEOUT_SECONDS,
    socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS,
) -> MongoClient:
    """Open a client for ``mongodb://`` or ``mongodb+srv://``; it connects at its first use.

    Options that are None are as the URL says; where it does not say either, a server that is not this machine is asked
    for TLS, and verified. Raises ConfigurationError if the URL or an option is wrong.
    """
    options: dict[str, Any] = {"tls": tls, "tlsCAFile": tls_ca_file, "retryWrites": retry_writes}
    options = {name: value for name, value in options.items() if value is not None}
    try:
        query = url.partition("?")[2]
        # The client only warns about an option it does not understand, and a misspelt tls means no TLS.
        said = split_options(query, validate=True, warn=False) if query else {}
        options |= _verifying(url, {name.lower(): value for name, value in {**said, **options}.items()})
        return AsyncIOMotorClient(
            url,
            appname=APPLICATION_NAME,
            serverSelectionTimeoutMS=round(server_selection_timeout_seconds * 1000),
            connectTimeoutMS=round(server_selection_timeout_seconds * 1000),
            socketTimeoutMS=round(socket_timeout_seconds * 1000),
            **options,
        )
    except (errors.PyMongoError, ValueError, OSError) as error:
        raise ConfigurationError(redact(error), place="MongoDB connection", remedy=CORRECT_THE_BLOCK) from None


def uses_tls(url: str, said: Mapping[str, Any]) -> bool:
    """Return whether a connection uses TLS: as the options ``said`` tell, else if a server is not this machine.

    Names in ``said`` are in lower case.
    """
    is_near = all(map(is_on_this_machine, _hosts(url)))
    return bool(said.get("tls", url.startswith("mongodb+srv:") or not is_near))


def _verifying(url: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that verify a server which is not this machine, as far as ``said`` has none of them.

    Names in ``said`` are in lower case.
    """
    hosts = _hosts(url)
    is_near = all(map(is_on_this_machine, hosts))
    is_tls = uses_tls(url, said)
    less = next((f"{name}=true" for name in INSECURE_OPTIONS if said.get(name.lower())), "" if is_tls else "tls=false")
    if less and not is_near:
        tell_unverified(hosts[0], less)
    if not is_tls:
        return {}
    return {"tls": True} | ({} if "tlscafile" in said else {"tlsCAFile": authorities_for(hosts[0])})


def _hosts(url: str) -> list[str]:
    """Return the hosts of a URL. PyMongo would look up those of ``mongodb+srv://``, which may take its time."""
    named = url.partition("://")[2].partition("?")[0].partition("/")[0].rpartition("@")[2]
    return [urlsplit(f"//{unquote(host)}").hostname or unquote(host) for host in named.split(",")]


def find_blocking_client(client: MongoClient) -> pymongo.MongoClient[dict[str, Any]]:
    """Return the client of PyMongo that does the work of this one. It blocks, and may be used in any thread.

    Motor hands every event of a change stream through its own threads, at ten times the cost: 10,900 events per CPU
    second against 109,000.
    """
    blocking: pymongo.MongoClient[dict[str, Any]] = client.delegate
    return blocking


async def check(client: MongoClient, place: str) -> None:
    """Ask the server to answer. Raises Unreachable or ConfigurationError, naming ``place``."""
    with mongo_errors(place):
        await client.admin.command("ping")


@contextmanager
def mongo_errors(place: str) -> Iterator[None]:
    """Translate errors of PyMongo into those of Millrace, naming ``place``; nothing secret is in them."""
    try:
        yield
    except errors.PyMongoError as error:
        raise translate(error, place) from None


def translate(error: errors.PyMongoError, place: str) -> MillraceError:
    """Return the error of Millrace for an error of PyMongo.

    The words of the server about a failed statement may hold values of rows and are left out.
    """
    if isinstance(error, errors.OperationFailure):
        return _translate_answer(error, place)
    if meaning := find_meaning(_MEANINGS, Said(error, words=str(error))):
        return meaning.make_error(redact(str(error).split(", Timeout:")[0]), place)
    return FatalError(f"{type(error).__name__} of MongoDB", place=place, remedy="look at the server's log")


def _translate_answer(error: errors.OperationFailure, place: str) -> MillraceError:
    labels = frozenset(label for label in RETRYABLE_LABELS if error.has_error_label(label))
    problem = f"MongoDB error {error.code}"
    if meaning := find_meaning(_MEANINGS, Said(error, error.code or 0, labels=labels)):
        return meaning.make_error(problem, place)
    name = (error.details or {}).get("codeName", "")
    return FatalError(
        f"a command failed: {problem} {name}".rstrip(),
        place=place,
        remedy="look at the server's log, which has its words whole",
    )
