"""Keys of changed rows in the events of the log of MySQL and MariaDB. All other columns are passed over, undecoded.

The format is that of ``Table_map_event`` and ``Rows_event`` in the documentation of MySQL's source code.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

TABLE_MAP = 19
WRITES, UPDATES, DELETES = frozenset({23, 30}), frozenset({24, 31}), frozenset({25, 32})
"""Inserted, updated and deleted rows, in the first and second form of the event."""
COMPRESSED = {166: 23, 167: 24, 168: 25, 169: 30, 170: 31, 171: 32}
"""Kinds of events with rows that MariaDB compressed (log_bin_compress), and the kinds that they are otherwise."""
ROWS = WRITES | UPDATES | DELETES | COMPRESSED.keys()
_SECOND_FORM = frozenset({30, 31, 32})
_TABLE_NUMBER_BYTES, _FLAGS_BYTES = 6, 2

BLOBS = frozenset({242, 245, 249, 250, 251, 252, 255, 140})
"""Types whose values have a length before them, of as many bytes as the metadata say."""
_TEXTS = frozenset({15, 253, 141})
_STRING, _ENUM, _SET, _BIT, _DECIMAL = 254, 247, 248, 16, 246
_WIDTHS = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 0, 7: 4, 8: 8, 9: 3, 10: 3, 11: 3, 12: 8, 13: 1, 14: 3}
_FRACTIONS = {17: 4, 18: 5, 19: 3}
"""How many bytes times take without their fraction."""
_METADATA_BYTES = {
    **dict.fromkeys({4, 5} | _FRACTIONS.keys() | BLOBS, 1),
    **dict.fromkeys({_STRING, _ENUM, _SET, _BIT, _DECIMAL} | _TEXTS, 2),
}
_LONG_TEXT = 256
"""From so many bytes on the length of a text takes two bytes."""
DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
"""How many bytes so many digits of a decimal take."""

Render = Callable[[bytes], str]


class UnreadableRows(Exception):
    """The keys of the rows cannot be found in the event; the message says why."""


@dataclass(frozen=True)
class LoggedKeyColumn:
    """A column of a key."""

    position: int
    """Its position among the columns of the table, from 0."""
    kinds: frozenset[int]
    """The types that the log may give it."""
    render: Render
    """Makes of its bytes in the log the text that the server renders in a SELECT."""


@dataclass(frozen=True)
class LoggedForm:
    """The form of a table, as the log announces it before changes of the table."""

    schema: str
    table: str
    kinds: bytes
    """The type of each column."""
    sizes: tuple[tuple[int, int], ...]
    """How many bytes the values of each column take, and the length before each: one of both is 0. -1: not known."""


def parse_table_number(body: bytes) -> int:
    """Return the number by which events name the table that was announced."""
    return int.from_bytes(body[:_TABLE_NUMBER_BYTES], "little")


def parse_table_map(body: bytes) -> LoggedForm:
    """Return the form of the table that an event announces."""
    offset = _TABLE_NUMBER_BYTES + _FLAGS_BYTES
    schema, offset = _read_name(body, offset)
    table, offset = _read_name(body, offset)
    columns, offset = _read_number(body, offset)
    kinds = body[offset : offset + columns]
    _, offset = _read_number(body, offset + columns)
    return LoggedForm(schema, table, kinds, _parse_sizes(kinds, body, offset))


def _parse_sizes(kinds: bytes, body: bytes, offset: int) -> tuple[tuple[int, int], ...]:
    sizes = []
    for kind in kinds:
        length = _METADATA_BYTES.get(kind, 0)
        sizes.append(_size_of(kind, body[offset : offset + length]))
        offset += length
    return tuple(sizes)


def _size_of(kind: int, metadata: bytes) -> tuple[int, int]:
    """Return how many bytes a value takes, and its length before it."""
    if kind in _WIDTHS:
        return _WIDTHS[kind], 0
    if kind in _FRACTIONS:
        return _FRACTIONS[kind] + (metadata[0] + 1) // 2, 0
    if kind in BLOBS:
        return 0, metadata[0]
    if kind in _TEXTS:
        return 0, 1 if int.from_bytes(metadata, "little") < _LONG_TEXT else 2
    if kind == _DECIMAL:
        return _decimal_bytes(*metadata), 0
    if kind == _BIT:
        return metadata[1] + (metadata[0] > 0), 0
    if kind == _STRING:
        # Of a length that does not fit into one byte two more bits are in the first one, inverted.
        real, length = metadata[0] | 0x30, metadata[1] | (metadata[0] & 0x30 ^ 0x30) << 4
        return (metadata[1], 0) if real in {_ENUM, _SET} else (0, 1 if length < _LONG_TEXT else 2)
    return -1, 0


def _decimal_bytes(precision: int, scale: int) -> int:
    whole = precision - scale
    return whole // 9 * 4 + DIGIT_BYTES[whole % 9] + scale // 9 * 4 + DIGIT_BYTES[scale % 9]


@dataclass(frozen=True)
class _Image:
    """What an event carries of a row, before or after its change."""

    steps: tuple[tuple[int, int, int], ...]
    """For each column that is there: bytes of the value, bytes of the length before it, which part of the key it is
    (-1: none)."""
    null_bytes: int
    carried: frozenset[int]
    """The parts of the key that are there."""


@lru_cache(maxsize=1000)
def _plan_image(form: LoggedForm, present: bytes, positions: tuple[int, ...]) -> _Image:
    steps = [
        (*size, positions.index(position) if position in positions else -1)
        for position, size in enumerate(form.sizes)
        if present[position >> 3] >> (position & 7) & 1
    ]
    if any(size < 0 for size, _, _ in steps):
        raise UnreadableRows("a column has a type that is not known")
    return _Image(tuple(steps), (len(steps) + 7) // 8, frozenset(part for _, _, part in steps if part >= 0))


def read_keys(kind: int, body: bytes, form: LoggedForm, key: Sequence[LoggedKeyColumn]) -> list[tuple[bool, list[str]]]:
    """Return the keys of the rows of an event, in its order, each with whether the row was deleted under this key.

    A row that got another key was deleted under its former one. Raises UnreadableRows when the event does not carry the
    keys, or the table has another form than ``key`` says.
    """
    for column in key:
        if column.position >= len(form.kinds) or form.kinds[column.position] not in column.kinds:
            raise UnreadableRows("its columns were others when it was changed")
    kind, before, after, data, offset = _open_rows(kind, body, form, tuple(column.position for column in key))
    renders = [column.render for column in key]
    found: list[tuple[bool, list[str]]] = []
    former: list[bytes] = []
    try:
        while offset < len(data):
            if before:
                former, offset = _read_image(data, offset, before, [b""] * len(key))
                found.append((True, [render(value) for render, value in zip(renders, former, strict=True)]))
            if after:
                value, offset = _read_image(data, offset, after, [*former] or [b""] * len(key))
                if value == former:
                    found.pop()
                found.append((False, [render(part) for render, part in zip(renders, value, strict=True)]))
    except (IndexError, ValueError) as error:
        raise UnreadableRows(f"a key could not be decoded ({type(error).__name__})") from None
    return found


def _open_rows(
    kind: int, body: bytes, form: LoggedForm, positions: tuple[int, ...]
) -> tuple[int, _Image | None, _Image | None, bytes, int]:
    """Return the kind of the event, what it carries of a row before and after its change, and where the rows begin."""
    is_compressed = kind in COMPRESSED
    kind = COMPRESSED.get(kind, kind)
    offset = _TABLE_NUMBER_BYTES + _FLAGS_BYTES
    if kind in _SECOND_FORM:
        offset += int.from_bytes(body[offset : offset + 2], "little")
    columns, offset = _read_number(body, offset)
    if columns != len(form.kinds):
        raise UnreadableRows("its columns were others when it was changed")
    images: list[_Image] = []
    for _ in range(2 if kind in UPDATES else 1):
        present = body[offset : offset + (columns + 7) // 8]
        images.append(_plan_image(form, present, positions))
        offset += len(present)
    before = None if kind in WRITES else images[0]
    after = None if kind in DELETES else images[-1]
    if len((before or images[-1]).carried) < len(positions):
        raise UnreadableRows("a change came without its key (binlog_row_image is not FULL)")
    data = decompress(body[offset:]) if is_compressed else body
    return kind, before, after, data, 0 if is_compressed else offset


def _read_image(data: bytes, offset: int, image: _Image, key: list[bytes]) -> tuple[list[bytes], int]:
    """Return the key of a row, and where the next one begins. Parts of the key that are not there stay as they were."""
    nulls = int.from_bytes(data[offset : offset + image.null_bytes], "little")
    offset += image.null_bytes
    for index, (size, prefix, part) in enumerate(image.steps):
        if nulls and nulls >> index & 1:
            continue
        begin = offset + prefix
        offset = begin + (int.from_bytes(data[offset:begin], "little") if prefix else size)
        if part >= 0:
            key[part] = data[begin:offset]
    return key, offset


def decompress(data: bytes) -> bytes:
    """Return what MariaDB compressed: after one byte, whose last three bits tell how many follow with the length."""
    return zlib.decompress(data[1 + (data[0] & 7) :])


def _read_number(body: bytes, offset: int) -> tuple[int, int]:
    """Return a number of variable length, and where it ends."""
    first = body[offset]
    length = {252: 2, 253: 3, 254: 8}.get(first, 0)
    if not length:
        return first, offset + 1
    return int.from_bytes(body[offset + 1 : offset + 1 + length], "little"), offset + 1 + length


def _read_name(body: bytes, offset: int) -> tuple[str, int]:
    """Return a name, which has its length before it and a zero after it, and where it ends."""
    end = offset + 1 + body[offset]
    return body[offset + 1 : end].decode(), end + 1
