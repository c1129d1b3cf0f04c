"""How the values of a column are masked before they leave the process that reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from millrace.base.errors import ConfigurationError
from millrace.declaration.checks import PositiveCount, Text, check_fields
from millrace.declaration.source_kinds import CONNECTION

HASH_CHARACTERS = 32
HIDDEN = "****"
"""What stands in the place of a masked value that is not hashed."""
DEFAULT_KEY = "default"
"""The name of the key of hashes that name none."""


def variable_of_key(name: str) -> str:
    """Return the variable that holds a key of hashes: MASK_KEY, or MASK_<NAME>_KEY."""
    return "MASK_KEY" if name == DEFAULT_KEY else f"MASK_{name.upper().replace('-', '_')}_KEY"


@dataclass(frozen=True)
class Hash:
    """A keyed hash in the place of a text: equal values stay equal, so that tables can be joined by it.

    It has 32 hexadecimal digits. Who has not the key cannot try out values.
    """

    key: Text = DEFAULT_KEY
    """Name of the key: ``default`` is in MASK_KEY, another one in MASK_<NAME>_KEY."""

    def __post_init__(self) -> None:
        check_fields(self, "Hash")
        if not re.fullmatch(CONNECTION, self.key):
            raise ConfigurationError(
                f"key {self.key!r} is not the name of a key",
                place="Hash",
                remedy="use lower-case letters, digits and hyphens; the key itself is in the environment",
            )


@dataclass(frozen=True)
class Partial:
    """The last characters of a text, behind ``****``. A text that is not longer becomes ``****``."""

    visible: PositiveCount = 4
    """How many characters stay."""

    def __post_init__(self) -> None:
        check_fields(self, "Partial")


@dataclass(frozen=True)
class Redact:
    """NULL in the place of every value."""


Mask = Hash | Partial | Redact
"""What a stream may declare for a column."""
