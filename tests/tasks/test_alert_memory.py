"""People are told of a fault at once, then with growing pauses, and of its end once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from millrace.tasks.alert_memory import Memory, decide

BEGUN = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)


def tell(hours_and_faults: list[tuple[float, bool]]) -> list[str]:
    """Look at a fault at these hours, and return what people were told each time."""
    memory: Memory = {}
    told = []
    for hours, is_found in hours_and_faults:
        occasions, memory = decide(memory, {"log": is_found}, BEGUN + timedelta(hours=hours))
        told.append(occasions.get("log", ""))
    return told


def test_a_fault_that_lasts_is_told_with_growing_pauses() -> None:
    looks = [0, 0.9, 1.0, 2, 4.9, 5.0, 28.9, 29.0, 53.1]
    told = tell([(hours, True) for hours in looks])
    assert told == ["first", "", "again", "", "", "again", "", "again", "again"]


def test_its_end_is_told_once_and_it_may_begin_again() -> None:
    assert tell([(0, False), (1, True), (2, False), (3, False), (3.1, True)]) == ["", "first", "recovered", "", "first"]


def test_faults_do_not_hide_each_other() -> None:
    occasions, memory = decide({}, {"a": True, "b": False}, BEGUN)
    assert occasions == {"a": "first"}
    occasions, memory = decide(memory, {"b": True}, BEGUN)
    assert occasions == {"b": "first"}
    assert set(memory) == {"a", "b"}
