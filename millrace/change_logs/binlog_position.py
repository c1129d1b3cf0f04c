"""Positions in the log of MySQL and MariaDB: the end of an event of a file, and what shows that it is still there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from typing_extensions import override

_FILE_SHIFT = 40
"""No file has so many bits in its length."""


@dataclass(frozen=True)
class BinlogPosition:
    """The end of an event that ended a transaction, or stood between two of them."""

    file: str
    end: int
    """Up to which byte of the file the log was read."""
    size: int = 0
    """How many bytes the event takes before ``end``; 0: it is not known."""
    checksum: int = 0
    """CRC-32 of the event. It tells the log of a server that was restored from the one that was read."""
    transaction: str = ""
    """The GTID of the last transaction; '': the server gives none."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a position as the ledger keeps it: ``bin.000004:1267;31;9f3a77c1;0-7-71``."""
        place, size, checksum, transaction = text.split(";")
        file, _, end = place.rpartition(":")
        return cls(file, int(end), int(size), int(checksum, 16), transaction)

    @override
    def __str__(self) -> str:
        return f"{self.file}:{self.end};{self.size};{self.checksum:08x};{self.transaction}"

    @property
    def begin(self) -> int:
        """Where to begin to read, so that the event shows itself again."""
        return self.end - self.size

    @property
    def base(self) -> str:
        """The name that all files of the log have in common."""
        return self.file.rpartition(".")[0]

    @property
    def ordinal(self) -> int:
        """A number that grows from one position of a log to the next."""
        return order(self.file, self.end)


def order(file: str, end: int) -> int:
    """Return a number that grows from one position of a log to the next."""
    return (int(file.rpartition(".")[2]) << _FILE_SHIFT) + end
