"""Which type can hold all values of another type, and the narrowest type that can hold the values of two types.

Lengths of texts and bytes do not count here: they are measured, not declared (column_changes.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from millrace.base.types import FLOAT64, MAX_PRECISION, DataType, Kind, decimal

_HELD_KINDS: Mapping[Kind, frozenset[Kind]] = {
    Kind.INT32: frozenset({Kind.INT16}),
    Kind.INT64: frozenset({Kind.INT16, Kind.INT32}),
    Kind.FLOAT32: frozenset({Kind.INT16}),
    Kind.FLOAT64: frozenset({Kind.INT16, Kind.INT32, Kind.FLOAT32}),
    Kind.TIMESTAMP: frozenset({Kind.DATE}),
}
"""For each kind, the kinds whose every value it holds.

A float of 24 bits holds integers of 16 bits, a float of 53 bits those of 32, none holds those of 64. A moment with a
time zone does not hold moments without one: the zone that was meant is not written.
"""

_DIGITS: Mapping[Kind, int] = {Kind.INT16: 5, Kind.INT32: 10, Kind.INT64: 19}
"""Number of digits of the longest whole number."""


def holds(former: DataType, wanted: DataType) -> bool:
    """Return whether every value of ``wanted`` is a value of ``former``."""
    if former.kind is Kind.DECIMAL and (measured := _measures(wanted)):
        whole, scale = _measures(former) or (0, 0)
        return whole >= measured[0] and scale >= measured[1]
    return former.kind is wanted.kind or wanted.kind in _HELD_KINDS.get(former.kind, ())


def supertype(former: DataType, wanted: DataType) -> DataType | None:
    """Return the narrowest type that holds the values of both, ``former`` itself if it does; None: there is none."""
    candidates = (former, wanted, _common_decimal(former, wanted), FLOAT64)
    return next(
        (candidate for candidate in candidates if candidate and holds(candidate, former) and holds(candidate, wanted)),
        None,
    )


def _common_decimal(former: DataType, wanted: DataType) -> DataType | None:
    """Return the decimal that holds the values of both; None if one is no exact number, or has too many digits."""
    first, second = _measures(former), _measures(wanted)
    if first is None or second is None:
        return None
    whole, scale = max(first[0], second[0]), max(first[1], second[1])
    return decimal(whole + scale, scale) if whole + scale <= MAX_PRECISION else None


def _measures(data_type: DataType) -> tuple[int, int] | None:
    """Return the digits before and after the point of an exact number; None for other types."""
    if data_type.kind is Kind.DECIMAL:
        scale = data_type.scale or 0
        return (data_type.precision or MAX_PRECISION) - scale, scale
    digits = _DIGITS.get(data_type.kind)
    return None if digits is None else (digits, 0)
