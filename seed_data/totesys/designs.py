"""Designs: their names and the places of their files."""

from __future__ import annotations

from millrace.seed_data.totesys.chance import Chance
from millrace.seed_data.totesys.world import Row

MATERIALS = ("Bronze", "Concrete", "Cotton", "Fresh", "Frozen", "Granite", "Metal", "Rubber", "Soft", "Steel", "Wooden")
LOCATIONS = ("/home/user/dir", "/lib", "/mnt", "/opt/bin", "/private", "/private/var", "/usr/include", "/usr/local/src")
NEVER_ORDERED = 40
"""Every so many designs one stays a sample, which nobody orders: only such a one is ever deleted."""


def draw_design(chance: Chance) -> Row:
    """Draw all columns of a design except key and timestamps."""
    name = chance.one_of(MATERIALS)
    day = f"{chance.integer(2021, 2024)}{chance.integer(1, 12):02}{chance.integer(1, 28):02}"
    suffix = chance.text("abcdefghijklmnopqrstuvwxyz0123456789", 4)
    return {
        "design_name": name,
        "file_location": chance.one_of(LOCATIONS),
        "file_name": f"{name.lower()}-{day}-{suffix}.json",
    }


def draw_ordered_design(chance: Chance, designs: int) -> int:
    """Draw the id of one of the first ``designs`` designs that are ordered at all."""
    number = chance.integer(1, designs)
    return number if number % NEVER_ORDERED else number - 1
