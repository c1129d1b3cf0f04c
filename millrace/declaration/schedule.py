"""Schedules: when a sweep is due (``every run``, ``daily``, or a cron expression in UTC)."""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from millrace.base.errors import ConfigurationError

EVERY_RUN = "every run"
CRON_FIELDS = 5
"""The number of fields of a cron expression. A sixth one would be seconds, and no run starts to the second."""
_NAMED = {"daily": "0 0 * * *"}


def check_schedule(schedule: str) -> None:
    """Raise ConfigurationError unless ``schedule`` is a schedule; '' means on demand only."""
    if schedule and schedule != EVERY_RUN:
        _fires(schedule, datetime.now(UTC))


def check_cron(schedule: str) -> None:
    """Raise ConfigurationError unless ``schedule`` is '' or a cron expression: Prefect accepts nothing else."""
    if schedule in {EVERY_RUN, *_NAMED}:
        raise ConfigurationError(f"{schedule!r} is not a cron expression", remedy="write its five fields")
    check_schedule(schedule)


def is_due(schedule: str, last: datetime | None, now: datetime) -> bool:
    """Return whether the schedule has a time after ``last`` (None: there was no sweep) and not after ``now``.

    Both have a time zone.
    """
    if not schedule:
        return False
    if schedule == EVERY_RUN or last is None:
        return True
    return next(_fires(schedule, last.astimezone(UTC))) <= now.astimezone(UTC)


def _fires(schedule: str, after: datetime) -> CronSim:
    try:
        cron = _NAMED.get(schedule, schedule)
        if len(cron.split()) != CRON_FIELDS:
            raise CronSimError("Wrong number of fields")
        return CronSim(cron, after)
    except CronSimError as error:
        raise ConfigurationError(
            f"{schedule!r} is not a schedule ({error})",
            remedy="write 'every run', 'daily', or the five fields of a cron expression",
        ) from None
