"""Which rows of its source a stream replicates, as a text that the ledger remembers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

ALL_ROWS = "all rows"
"""The text of a stream without a condition."""
LONGEST = 16_000
"""The most bytes of a text that is remembered as it is, where the ledger holds 65,535; a longer one becomes a hash."""


def describe_selection(where: str | Mapping[str, Any]) -> str:
    """Return the declared condition as a text that is the same for equal conditions."""
    condition = where.strip() if isinstance(where, str) else json.dumps(where, sort_keys=True, default=repr)
    text = condition if where else ALL_ROWS
    return text if len(text) <= LONGEST else f"sha256 {hashlib.sha256(text.encode()).hexdigest()}"
