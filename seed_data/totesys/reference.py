"""The rows that are there before the first working day: addresses, counterparties, staff and the like.

They hold what real dumps hold: names with an apostrophe, a misspelled town, missing values, and the words NULL and
None as data.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from faker import Faker

from millrace.seed_data.totesys.chance import Chance
from millrace.seed_data.totesys.days import FIRST_DESIGNS
from millrace.seed_data.totesys.designs import draw_design
from millrace.seed_data.totesys.world import Row, RowChange, insert_stamped_row, key_of

ADDRESSES, COUNTERPARTIES, STAFF = 30, 20, 20
CURRENCIES = ("GBP", "USD", "EUR")
PAYMENT_TYPES = ("SALES_RECEIPT", "SALES_REFUND", "PURCHASE_PAYMENT", "PURCHASE_REFUND")
DEPARTMENTS = (
    ("Sales", "Manchester"),
    ("Purchasing", "Manchester"),
    ("Production", "Leeds"),
    ("Dispatch", "Leds"),
    ("Finance", "Manchester"),
    ("Facilities", "Manchester"),
    ("Communications", "Leeds"),
    ("HR", None),
)
"""Names and locations of departments."""


def reference_changes(seed: int, moment: datetime) -> list[RowChange]:
    """Return the changes that insert the reference rows, all with one timestamp."""
    faker = Faker("en_GB")
    faker.seed_instance(seed)
    makers = {
        "address": _addresses(faker),
        "counterparty": _counterparties(faker),
        "currency": ({"currency_code": code} for code in CURRENCIES),
        "department": _departments(faker),
        "design": (draw_design(Chance(seed, "design", number + 1)) for number in range(FIRST_DESIGNS)),
        "staff": _staff(faker),
        "payment_type": ({"payment_type_name": name} for name in PAYMENT_TYPES),
    }
    return [
        insert_stamped_row(table, moment, {key_of(table): key, **row})
        for table, rows in makers.items()
        for key, row in enumerate(rows, 1)
    ]


def _addresses(faker: Faker) -> Iterator[Row]:
    for number in range(ADDRESSES):
        yield {
            "address_line_1": faker.street_address(),
            "address_line_2": "NULL" if number == 4 else faker.secondary_address() if number % 3 == 0 else None,
            "district": faker.county() if number % 2 else None,
            "city": faker.city(),
            "postal_code": faker.postcode(),
            "country": faker.country(),
            "phone": faker.numerify("#### ######"),
        }


def _counterparties(faker: Faker) -> Iterator[Row]:
    for number in range(COUNTERPARTIES):
        yield {
            "counterparty_legal_name": faker.unique.company(),
            "legal_address_id": faker.random_int(1, ADDRESSES),
            "commercial_contact": faker.name() if number % 5 else None,
            "delivery_contact": "None" if number == 7 else faker.name() if number % 4 else None,
        }


def _departments(faker: Faker) -> Iterator[Row]:
    for name, location in DEPARTMENTS:
        yield {"department_name": name, "location": location, "manager": faker.name() if location else None}


def _staff(faker: Faker) -> Iterator[Row]:
    for number in range(STAFF):
        first, last = faker.first_name(), "O'Keefe" if number == 9 else faker.unique.last_name()
        yield {
            "first_name": first,
            "last_name": last,
            "department_id": number % len(DEPARTMENTS) + 1,
            "email_address": f"{first}.{last}@totesys.example".lower(),
        }
