"""Prefect's API: check that it answers, and translate its errors.

Everything needs it, because it keeps the blocks and the state of runs. So it is asked first, in one request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLOUD_API_URL

from millrace.base.errors import ConfigurationError, MillraceError, Unreachable
from millrace.base.redact import redact

PLACE = "Prefect's API"
DENIED = frozenset({401, 403})
SERVER_ERROR = 500
_UNREACHABLE = ("Failed to reach API", "ephemeral Prefect API server", "incompatible versions")
"""What Prefect's client raises as RuntimeError."""
_SERVER = "see that PREFECT_API_URL is right and the server runs; the address ends in /api"
_OWN_SERVER = (
    "set PREFECT_API_URL to the address of a server that runs (`make up` prints one), or raise "
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
)
_KEY = "set PREFECT_API_KEY (for Prefect Cloud) or PREFECT_API_AUTH_STRING (for a server of one's own)"


async def check_api() -> None:
    """Raise Unreachable if Prefect's API does not answer, ConfigurationError if its address or key is wrong."""
    try:
        async with get_client() as client:
            await client.read_flows(limit=1)
    except Exception as error:
        translated_error = translate_error(error)
        if not isinstance(translated_error, MillraceError):
            answer = (
                str(error.response.status_code) if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
            )
            translated_error = ConfigurationError(
                f"what answers at {_address()} is not Prefect's API ({answer})", place=PLACE, remedy=_SERVER
            )
        raise translated_error from None


def is_on_cloud() -> bool:
    """Return whether the API is that of Prefect Cloud."""
    return str(PREFECT_API_URL.value() or "").startswith(str(PREFECT_CLOUD_API_URL.value()))


@contextmanager
def api_errors() -> Iterator[None]:
    """Translate errors of Prefect's API into those of Millrace."""
    try:
        yield
    except Exception as error:
        translated_error = translate_error(error)
        if translated_error is error:
            raise
        raise translated_error from None


def translate_error(error: BaseException) -> BaseException:
    """Return the error of Millrace for an error of Prefect's API; any other error as it is."""
    if isinstance(error, MillraceError):
        return error
    if isinstance(error, httpx.HTTPStatusError):
        return _translate_status(error.response.status_code) or error
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return ConfigurationError(f"{_address()} is not a web address", place=PLACE, remedy=_SERVER)
    if isinstance(error, httpx.TransportError) or any(words in str(error) for words in _UNREACHABLE):
        problem = f"{_address()} cannot be reached ({type(error).__name__}: {redact(error)})"
        return Unreachable(problem, place=PLACE, remedy=_SERVER if PREFECT_API_URL.value() else _OWN_SERVER)
    if "No Prefect API URL provided" in str(error):
        return ConfigurationError("its address is not set", place=PLACE, remedy=_OWN_SERVER)
    return error


def _translate_status(status: int) -> MillraceError | None:
    if status in DENIED:
        return ConfigurationError(f"{_address()} denies access (HTTP {status})", place=PLACE, remedy=_KEY)
    if status >= SERVER_ERROR:
        remedy = "see the server's log, then run again"
        return Unreachable(f"{_address()} fails (HTTP {status})", place=PLACE, remedy=remedy)
    return None


def _address() -> str:
    address = PREFECT_API_URL.value()
    return redact(address) if address else "the server that Prefect starts for this process"
