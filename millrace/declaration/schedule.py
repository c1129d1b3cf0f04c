"""When a sweep is due: ``every run``, ``daily``, or a cron expression in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from millrace.base.errors import ConfigurationError

EVERY_RUN = "every run"
CRON_FIELDS = 5
"""Six would be seconds, which neither Prefect nor a run can keep."""
_NAMED = {"daily": "0 0 * * *"}


def check_schedule(schedule: str) -> None:
    """Raises ConfigurationError when ``schedule`` is none ('' is: on demand only)."""
    if schedule and schedule != EVERY_RUN:
        _fires(schedule, datetime.now(UTC))


def check_cron(schedule: str) -> None:
    """Raises ConfigurationError when ``schedule`` is neither '' nor a cron expression: Prefect takes nothing else."""
    if schedule in {EVERY_RUN, *_NAMED}:
        raise ConfigurationError(f"{schedule!r} is no cron expression", remedy="write its five fields")
    check_schedule(schedule)


def is_due(schedule: str, last: datetime | None, now: datetime) -> bool:
    """Whether a moment of the schedule lies after ``last`` (None: never) and not after ``now``, both with zones."""
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
            f"{schedule!r} is no schedule ({error})",
            remedy="write 'every run', 'daily', or the five fields of a cron expression",
        ) from None
