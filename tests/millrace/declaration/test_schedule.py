"""When a sweep is due, by schedule, last sweep and clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from millrace import Incremental, Stream
from millrace.base.errors import ConfigurationError
from millrace.declaration.schedule import is_due

NIGHT = datetime(2026, 3, 1, 23, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "last", "now", "due"),
    [
        ("", None, NIGHT, False),
        ("every run", NIGHT, NIGHT, True),
        ("daily", None, NIGHT, True),
        ("daily", NIGHT, NIGHT + timedelta(minutes=9), False),
        ("daily", NIGHT, NIGHT + timedelta(minutes=10), True),
        ("daily", NIGHT - timedelta(days=3), NIGHT, True),
        ("30 3 * * 1", NIGHT, datetime(2026, 3, 2, 3, 29, tzinfo=UTC), False),
        ("30 3 * * 1", NIGHT, datetime(2026, 3, 2, 3, 30, tzinfo=UTC), True),
        ("0 6 * * *", NIGHT, datetime(2026, 3, 2, 6, 59, tzinfo=timezone(timedelta(hours=1))), False),
        ("0 6 * * *", NIGHT, datetime(2026, 3, 2, 7, 0, tzinfo=timezone(timedelta(hours=1))), True),
    ],
)
def test_a_sweep_is_due_once_a_moment_of_its_schedule_has_passed(
    schedule: str, last: datetime | None, now: datetime, due: bool
) -> None:
    assert is_due(schedule, last, now) is due


@pytest.mark.parametrize("schedule", ["hourly", "61 * * * *", "* * *"])
def test_a_schedule_that_is_none_fails_where_the_stream_is_declared(schedule: str) -> None:
    with pytest.raises(ConfigurationError, match=r"stream notes: .* is not a schedule"):
        Stream("notes", source="postgres:public.notes", key="id", capture=Incremental("changed"), sweep=schedule)
