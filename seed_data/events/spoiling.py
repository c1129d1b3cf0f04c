"""Malformed events, kind by kind: what a faulty app makes of a good event.

Nobody who reads them can repair them. An empty body is not among them, because SQS does not accept one.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from millrace.seed_data.events.drawing import TEXTS

Event = dict[str, object]
REQUIRED = ("id", "received_at", "anonymous_id", "context_device_type", "event", "event_text", "timestamp", "sent_at")
"""Columns of the table that must not be null."""
NO_NUMBERS = ("guest", "12a", "1.5", "0x1F")


def spoil(kind: str, body: str, number: int) -> str:
    """Return the body after it was spoiled in the way of ``kind`` (one of ``KINDS``).

    ``number`` chooses if there are several ways.
    """
    return KINDS[kind](body, number)


def _of_event(spoiled: Callable[[Event, int], object]) -> Callable[[str, int], str]:
    return lambda body, number: json.dumps(spoiled(json.loads(body), number), ensure_ascii=False)


def _no_json(body: str, number: int) -> str:
    """Cut the JSON off."""
    return body[: 1 + number % (len(body) - 1)]


def _timestamp_spelling(event: Event, _number: int) -> Event:
    """Spell a timestamp wrongly: ``2018-02-03t19: 28:06.291+0100``."""
    text = str(event["original_timestamp"])
    return event | {"original_timestamp": f"{text[:10]}t{text[11:14]} {text[14:]}"}


def _lower_case_id(event: Event, _number: int) -> Event:
    return event | {"id": str(event["id"]).lower()}


def _event_text_disagrees(event: Event, number: int) -> Event:
    others = [text for name, text in TEXTS.items() if name != event["event"]]
    return event | {"event_text": others[number % len(others)]}


def _missing_key(event: Event, number: int) -> Event:
    missing = REQUIRED[number % len(REQUIRED)]
    return {name: value for name, value in event.items() if name != missing}


def _user_id_no_number(event: Event, number: int) -> Event:
    return event | {"user_id": NO_NUMBERS[number % len(NO_NUMBERS)]}


def _no_object(event: Event, number: int) -> object:
    return ([event], number, str(event["id"]), None, True)[number % 5]


def _blank(_body: str, _number: int) -> str:
    return " "


KINDS: dict[str, Callable[[str, int], str]] = {
    "no_json": _no_json,
    "timestamp_spelling": _of_event(_timestamp_spelling),
    "lower_case_id": _of_event(_lower_case_id),
    "event_text_disagrees": _of_event(_event_text_disagrees),
    "missing_key": _of_event(_missing_key),
    "user_id_no_number": _of_event(_user_id_no_number),
    "no_object": _of_event(_no_object),
    "blank": _blank,
}
"""Every kind of malformed event."""
