"""Events, valid ones, a block at a time: columns are drawn, rows are written as JSON."""

from __future__ import annotations

import numpy as np

from millrace.seed_data.events.devices import DEVICES, PLACES, draw_devices, spell_id
from millrace.seed_data.events.moments import Integers, draw_moments, spell_original, spell_utc

PURPOSE = 1
"""Purpose of the random draws of this module, which are independent of those of stream.py."""
EVENTS = {"submission_success": 0.45, "registration_initiated": 0.35, "another_event": 0.2}
"""With the share of each."""
TEXTS = {"submission_success": "submissionSuccess", "registration_initiated": "registrationInitiated"} | {
    "another_event": "anotherEvent"
}
WIFI_SHARE = 0.6
ZONES = [zone for zone, _ in PLACES]
_NAMED = [f'"event":"{event}","event_text":"{TEXTS[event]}"' for event in EVENTS]


def draw_events(seed: int, block: int, received: Integers) -> list[tuple[str, str]]:
    """Id and JSON of an event for each moment of reception; equal arguments give equal events."""
    random, devices, count = np.random.default_rng([seed, PURPOSE, block]), draw_devices(seed), len(received)
    digits = random.bytes(16 * count).hex().upper()
    moments, senders = draw_moments(random, received), random.integers(DEVICES, size=count)
    columns = zip(
        [spell_id(digits[position : position + 32]) for position in range(0, 32 * count, 32)],
        spell_utc(moments.received, "us"),
        senders.tolist(),
        np.where(random.random(count) < WIFI_SHARE, "true", "false").tolist(),
        random.choice(len(EVENTS), size=count, p=list(EVENTS.values())).tolist(),
        spell_original(random, moments.original, devices.places[senders], ZONES),
        spell_utc(moments.timestamp, "us"),
        spell_utc(moments.sent, "s"),
        strict=True,
    )
    members = devices.members
    return [
        (
            event_id,
            f'{{"id":"{event_id}","received_at":"{received_at}",{members[sender]},"context_network_wifi":{wifi},'
            f'{_NAMED[event]},"original_timestamp":"{original}","timestamp":"{timestamp}","sent_at":"{sent_at}"}}',
        )
        for event_id, received_at, sender, wifi, event, original, timestamp, sent_at in columns
    ]
