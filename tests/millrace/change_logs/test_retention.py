"""What a server keeps of its log is told when it is much: by share of its limit, or by size where it has none."""

from __future__ import annotations

import pytest

from millrace.change_logs.retention import HIGH_BYTES, RetainedLog, Retention, describe_retained_log

GIB = 1024**3


@pytest.mark.parametrize(
    ("retention", "share", "is_high"),
    [
        pytest.param(Retention(GIB, GIB + 2), 0.5, False, id="nearly half"),
        pytest.param(Retention(GIB, GIB), 0.5, True, id="half of the size"),
        pytest.param(Retention(2 * GIB, -GIB), 1.0, True, id="over the limit, until the next checkpoint"),
        pytest.param(Retention(0, 0), 1.0, True, id="a limit of nothing"),
        pytest.param(Retention(HIGH_BYTES - 1), None, False, id="no limit"),
        pytest.param(Retention(HIGH_BYTES), None, True, id="no limit, and much"),
        pytest.param(Retention(remaining_seconds=7200, kept_seconds=10_800), 1 / 3, False, id="two of three hours"),
        pytest.param(Retention(remaining_seconds=3600, kept_seconds=10_800), 2 / 3, True, id="one of three hours"),
        pytest.param(Retention(remaining_seconds=-5, kept_seconds=10_800), 1.0, True, id="lost"),
        pytest.param(Retention(GIB, 9 * GIB, 60, 600), 0.9, True, id="what ends first counts"),
        pytest.param(Retention(), None, False, id="nothing is told"),
    ],
)
def test_when_a_log_is_much(retention: Retention, share: float | None, is_high: bool) -> None:
    assert retention.used_share == (None if share is None else pytest.approx(share))
    assert retention.is_high == is_high


def test_the_words_name_size_limit_streams_and_the_command() -> None:
    kept = RetainedLog("source postgres", Retention(3 * GIB, GIB), ("items",))
    assert describe_retained_log(kept, "shop") == (
        "source postgres keeps 3.0 GiB of its change log; 75% of what it may keep is used; "
        "it is kept for streams that were not read, too: items (see `millrace logs shop`)"
    )
    unlimited = describe_retained_log(RetainedLog("source postgres", Retention(12 * GIB)), "shop")
    assert "12.0 GiB of its change log; no limit is set, so its disk may become full" in unlimited
    hours = describe_retained_log(RetainedLog("source mongo", Retention(None, None, 3600, 7200)), "shop")
    assert "for 1.0 more hours; 50% of what it may keep is used" in hours
