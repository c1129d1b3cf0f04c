"""What the machine asks of a source: to change its rows and its shape, and to tell what it holds.

A further kind of source is one class. What the engine reads is never used: ``contents`` is the truth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, Literal

from millrace.base.types import DataType
from tests.torture.values import TEXT_KEYS, Key, Row, value_of

Stamp = Literal["now", "never", "ahead", "same"]
"""Of a write: the source's clock, NULL, a day ahead of it, or as it was (a silent update)."""
KeyKind = Literal["number", "text", "pair"]


@dataclass(frozen=True)
class ShapeChange:
    """``rewrites``: rows have other values now, and no stamp says so. ``rehashes``: the same values have another hash,
    and rows are loaded once again."""

    what: str
    rewrites: bool
    rehashes: bool = False


class Transaction(ABC):
    """Writes that are stamped now and seen later."""

    touched: set[Key]

    @abstractmethod
    def insert(self, rows: Sequence[Row]) -> None:
        """Rows that nobody sees yet."""

    @abstractmethod
    def update(self, key: Key, values: Row) -> None:
        """A change that nobody sees yet."""

    @abstractmethod
    def end(self, *, commit: bool) -> None:
        """From now on they are seen, or never."""


class SourceUnderTest(ABC):
    """One table or collection. ``kinds`` are its columns besides key and stamp, ``overlap`` the stream's."""

    reference: str
    keys: tuple[str, ...]
    stamp: str = "changed"
    types: Mapping[str, DataType]
    overlap: timedelta | None
    kinds: dict[str, str]

    def __init__(self, name: str, key_kind: KeyKind) -> None:
        self.name, self.key_kind = name, key_kind
        self.additions = 0

    def fresh_key(self, dice: Random, taken: set[Key]) -> Key:
        """A key that no row has."""
        while True:
            number, word = dice.randrange(-50, 200), dice.choice(TEXT_KEYS)
            key = {"number": (number,), "text": (word,), "pair": (word, number)}[self.key_kind]
            if key not in taken:
                return key

    def fresh_values(self, dice: Random, share: float = 1.0) -> Row:
        """Values for a share of the columns."""
        return {path: value_of(kind, dice) for path, kind in self.kinds.items() if dice.random() < share}

    def fresh_name(self, kind: str) -> str:
        """Of a column that was never there."""
        self.additions += 1
        return f"extra_{self.additions}_{kind}"

    @abstractmethod
    def insert(self, rows: Sequence[Row], stamp: Stamp) -> None:
        """All with one stamp."""

    @abstractmethod
    def update(self, key: Key, values: Row, stamp: Stamp) -> None:
        """Set these values and leave the others."""

    @abstractmethod
    def delete(self, key: Key) -> None:
        """Take a row out."""

    @abstractmethod
    def restore(self, row: Row) -> None:
        """Put a deleted row back as it was, its stamp too."""

    @abstractmethod
    def begin(self) -> Transaction:
        """Open a transaction."""

    @abstractmethod
    def contents(self) -> dict[Key, Row]:
        """All rows as they are committed, read plainly."""

    @abstractmethod
    def change_shape(self, dice: Random) -> ShapeChange | None:
        """Add, drop, rename or widen a column; None where nothing can be."""

    @abstractmethod
    def bad_values(self, dice: Random, delivered: set[str]) -> Row:
        """Values that no column of the target takes; ``delivered`` are the columns it has."""

    @abstractmethod
    def is_bad(self, row: Row) -> bool:
        """Whether a value of the row has no place in the target."""

    @abstractmethod
    def key_at(self, coordinates: Mapping[str, Any], rows: Mapping[Key, Row]) -> Key:
        """The key of a rejected row."""

    @abstractmethod
    def drop(self) -> None:
        """Leave nothing behind."""
