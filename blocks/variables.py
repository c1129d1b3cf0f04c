"""An environment variable that the product reads, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """One environment variable."""

    name: str
    meaning: str
    example: str
    required: str
    """When it must be set."""
    secret: bool = False
    """Whether its value must not be shown."""
