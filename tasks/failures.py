"""Describe failures for people: each cause once, however many streams it stopped.

The message of an error that Millrace did not raise may contain a secret or a value of a row, so only its type is shown.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Literal

from typing_extensions import override

from millrace.base.errors import ConfigurationError, MillraceError, StreamBusy
from millrace.base.redact import redact

Failure = Literal["busy", "refused", "failed"]
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


def flatten_errors(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the errors of a group and of the groups in it; for a single error, that error."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from flatten_errors(inner)
    elif error is not None:
        yield error


def distinct_errors(errors: Iterable[BaseException]) -> list[BaseException]:
    """Return every different error once, in order: if the warehouse is down, that is one error, not one per stream."""
    return list({(type(leaf), str(leaf)): leaf for error in errors for leaf in flatten_errors(error)}.values())


def describe_error(error: BaseException) -> str:
    """Return what failed, in one line."""
    return "; ".join(_words(cause) for cause in distinct_errors([error]))


def _words(error: BaseException) -> str:
    if isinstance(error, MillraceError):
        return redact(error)
    return f"an unexpected {type(error).__name__}. Remedy: see its message in the run's log, and report it."


def status_of(error: BaseException) -> Failure:
    """Return ``busy`` if another run holds the stream, ``refused`` for a ConfigurationError, else ``failed``."""
    found = distinct_errors([error])
    if all(isinstance(cause, StreamBusy) for cause in found):
        return "busy"
    return "refused" if all(isinstance(cause, ConfigurationError) for cause in found) else "failed"


class _WithoutTraceback(logging.Filter):
    """Removes the traceback of Millrace's own errors from log records, except at debug level."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        is_known = error is not None and all(isinstance(leaf, MillraceError) for leaf in flatten_errors(error))
        if is_known and not logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            record.exc_info = record.exc_text = None
        return True


def log_known_errors_without_traceback() -> None:
    """Make flows and tasks log Millrace's own errors without a traceback, from now on."""
    for name in RUN_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known_filter, _WithoutTraceback) for known_filter in logger.filters):
            logger.addFilter(_WithoutTraceback())
