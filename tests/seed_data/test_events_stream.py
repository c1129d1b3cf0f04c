"""The messages of the queue: what valid ones hold, compared with an independent reading; shares, repetition, faults."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from millrace.seed_data.events.devices import PLACES
from millrace.seed_data.events.spoiling import KINDS
from millrace.seed_data.events.stream import REMEMBERED, EventMessage, messages

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
"""The night after, clocks are put forward in Europe."""
RATE = 0.4
REQUIRED = {
    *("id", "received_at", "anonymous_id", "context_device_manufacturer", "context_device_model"),
    *("context_device_type", "context_locale", "context_network_wifi", "context_os_name", "context_network_carrier"),
    *("context_traits_taxfix_language", "event", "event_text", "original_timestamp", "timestamp", "sent_at"),
}
OPTIONAL = {
    *("context_app_version", "context_device_ad_tracking_enabled", "context_library_name", "context_library_version"),
    *("context_timezone", "context_device_token", "user_id"),
}
WIDTHS = {
    **{"context_app_version": 8, "context_device_manufacturer": 32, "context_device_model": 32, "context_locale": 5},
    **{"context_device_type": 16, "context_library_name": 16, "context_library_version": 8, "context_os_name": 32},
    **{"context_network_carrier": 16, "context_traits_taxfix_language": 5},
}
UUID = re.compile(r"[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}")
ORIGINAL = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}")
FINE, WHOLE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}"), re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
TEXTS = {
    "submission_success": "submissionSuccess",
    "registration_initiated": "registrationInitiated",
    "another_event": "anotherEvent",
}


def fault(body: str) -> str:
    """What is wrong with a message, "" if nothing is: the rules once more, without the generator's words."""
    try:
        event = json.loads(body)
    except ValueError:
        return "no JSON"
    if not isinstance(event, dict):
        return "no object"
    if missing := [key for key in REQUIRED if event.get(key) is None]:
        return f"missing {sorted(missing)}"
    if unknown := event.keys() - REQUIRED - OPTIONAL:
        return f"unknown {sorted(unknown)}"
    if not all(UUID.fullmatch(event[key]) for key in ("id", "anonymous_id")):
        return "spelling of an id"
    if not ORIGINAL.fullmatch(event["original_timestamp"]):
        return "spelling of the original timestamp"
    if not (FINE.fullmatch(event["received_at"]) and FINE.fullmatch(event["timestamp"])):
        return "spelling of a timestamp"
    if not WHOLE.fullmatch(event["sent_at"]):
        return "spelling of sent_at"
    if TEXTS[event["event"]] != event["event_text"]:
        return "event and text"
    if event.get("user_id") is not None and not re.fullmatch(r"[1-9]\d{0,17}", event["user_id"]):
        return "user_id"
    if wide := [key for key, width in WIDTHS.items() if len((event.get(key) or "").encode()) > width]:
        return f"too wide {wide}"
    return ""


def taken(count: int, duplicates: float = 0.0, malformed: float = 0.0, seed: int = 1) -> list[EventMessage]:
    return list(islice(messages(seed, START, RATE, duplicates, malformed), count))


@pytest.fixture(scope="module")
def valid() -> list[dict[str, Any]]:
    """Twenty thousand events, over half a day and a change of clocks."""
    return [json.loads(message.body) for message in taken(20_000)]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def original(event: dict[str, Any]) -> datetime:
    return datetime.strptime(event["original_timestamp"].replace(" ", "T"), "%Y-%m-%dT%H:%M:%S.%f%z")


def near(count: int, share: float, of: int) -> bool:
    """Within five standard deviations."""
    return abs(count - share * of) < 5 * (of * share * (1 - share)) ** 0.5


def test_equal_arguments_give_equal_messages_and_others_do_not() -> None:
    assert taken(5_000, 0.1, 0.1) == taken(5_000, 0.1, 0.1)
    assert not {one.event_id for one in taken(100)} & {one.event_id for one in taken(100, seed=2)}


def test_what_is_valid_depends_on_no_share() -> None:
    mixed = [one for one in taken(5_000, 0.2, 0.2) if one.kind == "valid"]
    assert 2_500 < len(mixed) < 3_500
    assert set(mixed) < set(taken(5_000))


def test_valid_events_are_valid_and_distinct(valid: list[dict[str, Any]]) -> None:
    assert Counter(map(fault, map(json.dumps, valid))) == {"": len(valid)}
    assert len({event["id"] for event in valid}) == len(valid)
    assert {key for event in valid for key in event} == REQUIRED | OPTIONAL
    assert len(REQUIRED | OPTIONAL) == 23


def test_the_clock_rule(valid: list[dict[str, Any]]) -> None:
    for event in valid:
        happened, timestamp, received = original(event), moment(event["timestamp"]), moment(event["received_at"])
        sent = received - (timestamp - happened)
        assert happened <= timestamp < sent < received
        assert sent.replace(microsecond=0) == moment(event["sent_at"])
        assert received - happened < timedelta(days=2)


def test_some_arrive_long_after_they_happened(valid: list[dict[str, Any]]) -> None:
    late = sum(moment(event["received_at"]) - original(event) > timedelta(minutes=10) for event in valid)
    assert near(late, 0.01, len(valid))


def test_messages_come_at_the_rate_in_gaps_of_up_to_twice_the_mean(valid: list[dict[str, Any]]) -> None:
    moments = [one.at for one in taken(20_000)]
    assert [moment(event["received_at"]).timestamp() for event in valid] == moments
    gaps = [after - before for before, after in pairwise([START.timestamp(), *moments])]
    assert min(gaps) >= 0
    assert 1.99 / RATE < max(gaps) <= 2 / RATE + 1e-5
    assert len({round(gap, 5) for gap in gaps}) > 0.9 * len(gaps)
    assert abs(sum(gaps) / len(gaps) * RATE - 1) < 0.02
    assert sum(gap < 0.5 / RATE for gap in gaps) / len(gaps) == pytest.approx(0.25, abs=0.02)


def test_the_events_have_their_shares(valid: list[dict[str, Any]]) -> None:
    found = Counter(event["event"] for event in valid)
    for event, share in {"submission_success": 0.45, "registration_initiated": 0.35, "another_event": 0.2}.items():
        assert near(found[event], share, len(valid)), found


def test_both_spellings_of_the_original_timestamp(valid: list[dict[str, Any]]) -> None:
    assert near(sum("T" in event["original_timestamp"] for event in valid), 0.5, len(valid))


def test_the_offset_is_that_of_the_zone_at_the_moment(valid: list[dict[str, Any]]) -> None:
    known = [event for event in valid if event.get("context_timezone")]
    for event in known:
        there = original(event).astimezone(ZoneInfo(event["context_timezone"]))
        assert original(event).utcoffset() == there.utcoffset()
    berlin = {event["original_timestamp"][-5:] for event in known if event["context_timezone"] == "Europe/Berlin"}
    assert berlin == {"+0100", "+0200"}
    assert {event["context_timezone"] for event in known} == {zone for zone, _ in PLACES}
    assert {"-0230", "+0545", "+1400", "-1100"} <= {event["original_timestamp"][-5:] for event in valid}


@pytest.mark.parametrize("key", sorted(OPTIONAL))
def test_an_optional_key_is_there_or_null_or_left_out(key: str, valid: list[dict[str, Any]]) -> None:
    left_out = sum(key not in event for event in valid)
    null = sum(key in event and event[key] is None for event in valid)
    assert left_out > 200
    assert null > 200
    assert key == "context_device_token" or len(valid) - left_out - null > 10_000


def test_what_pipelines_have_stumbled_over_is_there(valid: list[dict[str, Any]]) -> None:
    assert {event["context_os_name"] for event in valid} >= {"iOS", "IOS", "ios", "Android", "android", "ANDROID"}
    assert {event["context_device_type"] for event in valid} == {"ios", "android"}
    assert all(event["context_os_name"].lower() == event["context_device_type"] for event in valid)
    assert max(len(event.get("context_timezone") or "") for event in valid) > 16
    assert max(int(event.get("user_id") or 0) for event in valid) > 2**31
    assert any(event["context_network_carrier"] == "" for event in valid)
    assert any('"' in event["context_device_model"] for event in valid)
    assert any(not event["context_network_carrier"].isascii() for event in valid)


def test_duplicates_repeat_an_earlier_event_near_or_far() -> None:
    seen: dict[str, tuple[int, str]] = {}
    distances, reordered, number = [], 0, 0
    for message in taken(30_000, 0.1):
        if message.kind == "duplicate":
            first, body = seen[message.event_id]
            repeated, before = json.loads(message.body), json.loads(body)
            assert repeated == before
            reordered += list(repeated) != list(before)
            assert (message.body == body) == (list(repeated) == list(before))
            distances.append(number - first)
        else:
            assert message.event_id not in seen
            seen[message.event_id] = number, message.body
            number += 1
    assert near(len(distances), 0.1, 30_000)
    assert near(reordered, 0.1, len(distances))
    assert near(sum(distance <= 20 for distance in distances), 0.5, len(distances))
    assert 5_000 < max(distances) <= REMEMBERED


def test_the_first_message_repeats_nothing() -> None:
    first, *others = taken(50, 1.0)
    assert first.kind == "valid"
    assert {(one.event_id, one.kind) for one in others} == {(first.event_id, "duplicate")}


WRONG = {
    "no_json": "no JSON",
    "blank": "no JSON",
    "no_object": "no object",
    "missing_key": r"missing \['\w+'\]",
    "lower_case_id": "spelling of an id",
    "timestamp_spelling": "spelling of the original timestamp",
    "event_text_disagrees": "event and text",
    "user_id_no_number": "user_id",
}


def test_every_malformed_message_is_wrong_as_its_kind_says() -> None:
    mixed = taken(20_000, malformed=0.3)
    found = Counter(one.kind for one in mixed)
    assert found.keys() == {"valid", *KINDS} == {"valid", *WRONG}
    assert near(found["valid"], 0.7, len(mixed))
    for one in mixed:
        wrong = fault(one.body)
        assert re.fullmatch(WRONG.get(one.kind, ""), wrong), (one.kind, wrong, one.body)
        assert one.body
    for kind in KINDS:
        assert near(found[kind], 0.3 / len(KINDS), len(mixed)), found


def test_a_timestamp_of_the_kind_that_was_seen() -> None:
    spoiled = next(one for one in taken(2_000, malformed=1.0) if one.kind == "timestamp_spelling")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dt\d\d: \d\d:\d\d\.\d{3}[+-]\d{4}", json.loads(spoiled.body)["original_timestamp"]
    )


def test_each_required_column_is_missed_by_some() -> None:
    bodies = [json.loads(one.body) for one in taken(2_000, malformed=1.0) if one.kind == "missing_key"]
    assert {key for body in bodies for key in REQUIRED - body.keys()} == {
        *("id", "received_at", "anonymous_id", "context_device_type", "event", "event_text", "timestamp", "sent_at")
    }


def test_both_kinds_are_mixed() -> None:
    found = Counter(one.kind for one in taken(20_000, 0.01, 0.005))
    assert near(found["duplicate"], 0.01, 20_000)
    assert near(found.total() - found["valid"] - found["duplicate"], 0.005, 20_000)


@pytest.mark.parametrize("rate", [0.001, 100_000])
def test_any_rate(rate: float) -> None:
    last = next(iter(islice(messages(1, START, rate), 4_999, None)))
    assert (last.at - START.timestamp()) * rate == pytest.approx(5_000, rel=0.05)


def test_they_are_endless_and_drawn_as_they_are_taken() -> None:
    endless: Iterator[EventMessage] = messages(1, START, RATE)
    assert all(next(endless).body for _ in range(5_000))
