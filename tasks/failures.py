"""What failed, in words for people: each cause once, however many streams it stopped.

The words of an error that is not the engine's own may hold a secret or a value of a row, so only its type is shown.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Literal

from millrace.base.errors import ConfigurationError, MillraceError, StreamBusy
from millrace.base.redact import redact

Failure = Literal["busy", "refused", "failed"]
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


def leaves(error: BaseException | None) -> Iterator[BaseException]:
    """The errors of a group, of groups in it as well; of anything else, itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    elif error is not None:
        yield error


def causes(errors: Iterable[BaseException]) -> list[BaseException]:
    """Every different error, in order: a warehouse that is down is one, not one of each stream."""
    return list({(type(one), str(one)): one for error in errors for one in leaves(error)}.values())


def words(error: BaseException) -> str:
    """Why, in a line."""
    return "; ".join(_words(cause) for cause in causes([error]))


def _words(error: BaseException) -> str:
    if isinstance(error, MillraceError):
        return redact(error)
    return f"an unexpected {type(error).__name__}. Remedy: the run's log holds its words; report it."


def status_of(error: BaseException) -> Failure:
    """``busy`` where another run holds the stream, ``refused`` where a declaration, setting or permission is wrong."""
    found = causes([error])
    if all(isinstance(cause, StreamBusy) for cause in found):
        return "busy"
    return "refused" if all(isinstance(cause, ConfigurationError) for cause in found) else "failed"


class _WithoutTraceback(logging.Filter):
    """An error that was made for people says where and why; where the code raised it is logged at debug level only."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        is_known = error is not None and all(isinstance(one, MillraceError) for one in leaves(error))
        if is_known and not logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            record.exc_info = record.exc_text = None
        return True


def log_known_errors_without_traceback() -> None:
    """Of flows and tasks, from now on."""
    for name in RUN_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, _WithoutTraceback) for one in logger.filters):
            logger.addFilter(_WithoutTraceback())
