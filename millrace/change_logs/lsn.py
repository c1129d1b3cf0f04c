"""Positions in the log of Postgres (LSN): as text, which the server takes, and as numbers, which can be compared."""

from __future__ import annotations


def parse_lsn(text: str) -> int:
    """Return a position as the number of bytes since the beginning of the log."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def format_lsn(number: int) -> str:
    """Return a position as Postgres writes it."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"
