"""The devices that events come from: what stays the same from one event of a device to the next."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from millrace.seed_data.events.moments import Integers
from millrace.seed_data.totesys.chance import Chance

DEVICES = 1_000
HOME_SHARE = 0.4
"""Share of the devices that are in the first place."""
PLACES = (
    ("Europe/Berlin", "de-DE"),
    ("Europe/Vienna", "de-AT"),
    ("Europe/Zurich", "de-CH"),
    ("Europe/London", "en-GB"),
    ("Europe/Madrid", "es-ES"),
    ("Europe/Luxembourg", "fr-LU"),
    ("Etc/UTC", "en-GB"),
    ("Atlantic/Reykjavik", "is-IS"),
    ("America/New_York", "en-US"),
    ("America/St_Johns", "en-CA"),
    ("America/Sao_Paulo", "pt-BR"),
    ("America/Argentina/Buenos_Aires", "es-AR"),
    ("America/Indiana/Indianapolis", "en-US"),
    ("Asia/Kolkata", "en-IN"),
    ("Asia/Kathmandu", "ne-NP"),
    ("Asia/Tokyo", "ja-JP"),
    ("Australia/Adelaide", "en-AU"),
    ("Pacific/Auckland", "en-NZ"),
    ("Pacific/Kiritimati", "en-KI"),
    ("Pacific/Pago_Pago", "en-AS"),
)
"""Zone and locale: offsets of whole, half and quarter hours, from -11 to +14."""
MODELS = {
    "ios": (("Apple", "iPhone10,6"), ("Apple", "iPhone14,2"), ("Apple", "iPad13,4")),
    "android": (
        ("samsung", "SM-G991B"),
        ("Google", "Pixel 7 Pro"),
        ("HUAWEI", "ELE-L29"),
        ("motorola", 'moto g "play"'),
        ("Xiaomi", "Redmi Note 8\\Pro"),
    ),
}
OS_NAMES = {"ios": ("iOS", "iOS", "IOS", "ios"), "android": ("Android", "Android", "android", "ANDROID")}
LIBRARIES = {"ios": "analytics-ios", "android": "analytics-kotlin"}
CARRIERS = ("Telekom.de", "vodafone.de", "o2 - de", "A1", "Swisscom", "Movistár", "中国移动", 'O\'2 "UK"', "")
"""Names of carriers. A device without a SIM card has none, and its carrier's name is ''."""
APP_VERSIONS, LIBRARY_VERSIONS = ("2.9", "2.10.1", "3.0.0", "3.1.12-b"), ("3.6.8", "3.6.10", "1.16.3")
PRESENT_SHARE, SIGNED_IN_SHARE = 0.85, 0.6
"""Share of events with an optional key, and with a user."""
NULL_SHARE = 0.5
"""Share of absent values that are written as NULL; the others are left out."""
USERS = ((1, 4_999_999), (1, 4_999_999), (2**31, 2**40))
"""The last does not fit into four bytes."""
DIGITS = "0123456789ABCDEF"


@dataclass(frozen=True)
class Devices:
    """Devices by number: their time zones and their constant fields.

    A time zone is a position in ``PLACES``; the fields are JSON without braces.
    """

    places: Integers
    members: list[str]


@lru_cache(maxsize=4)
def draw_devices(seed: int) -> Devices:
    """Draw all devices; equal seeds give equal devices."""
    drawn = [_draw(Chance(seed, "device", number)) for number in range(DEVICES)]
    return Devices(np.array([place for place, _ in drawn]), [members for _, members in drawn])


def _draw(chance: Chance) -> tuple[int, str]:
    place = 0 if chance.happens(HOME_SHARE) else chance.integer(1, len(PLACES) - 1)
    # Some libraries escape what is not ASCII, some do not.
    text = json.dumps(_device(chance, *PLACES[place]), ensure_ascii=chance.happens(0.5), separators=(",", ":"))
    return place, text.removeprefix("{").removesuffix("}")


def _device(chance: Chance, zone: str, locale: str) -> dict[str, object]:
    platform = chance.one_of(list(MODELS))
    manufacturer, model = chance.one_of(MODELS[platform])
    always = {
        "anonymous_id": spell_id(chance.text(DIGITS, 32)),
        "context_device_manufacturer": manufacturer,
        "context_device_model": model,
        "context_device_type": platform,
        "context_locale": locale,
        "context_os_name": chance.one_of(OS_NAMES[platform]),
        "context_network_carrier": chance.one_of(CARRIERS),
        "context_traits_taxfix_language": chance.one_of((locale[:2], locale)),
    }
    optional = {
        "context_app_version": chance.one_of(APP_VERSIONS),
        "context_device_ad_tracking_enabled": chance.happens(0.5),
        "context_library_name": LIBRARIES[platform],
        "context_library_version": chance.one_of(LIBRARY_VERSIONS),
        "context_timezone": zone,
    } | dict.fromkeys(["context_device_token"])
    user: dict[str, object] = {"user_id": str(chance.integer(*chance.one_of(USERS)))}
    return always | _thin_out(chance, optional, PRESENT_SHARE) | _thin_out(chance, user, SIGNED_IN_SHARE)


def _thin_out(chance: Chance, members: dict[str, object], share: float) -> dict[str, object]:
    """Set some members to NULL and leave some out."""
    with_null = {name: value if chance.happens(share) else None for name, value in members.items()}
    return {name: value for name, value in with_null.items() if value is not None or chance.happens(NULL_SHARE)}


def spell_id(digits: str) -> str:
    """Spell thirty-two upper-case hexadecimal digits as a UUID of version 4.

    The variant's digit is always an A, so that no id has only decimal digits, which have no lower case.
    """
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-A{digits[17:20]}-{digits[20:32]}"
