"""What a load did, in numbers that add up, and what a person should know of it."""

from __future__ import annotations

from dataclasses import dataclass

from millrace.base.errors import CountMismatch
from millrace.warehouse.freshness import Freshness


@dataclass(frozen=True)
class LoadResult:
    """What a load did. ``read`` = ``loaded`` + ``unchanged`` + ``rejected``; ``changes`` are the schema changes,
    ``warnings`` what a person should look at."""

    pipeline: str
    stream: str
    target: str
    batch_id: str
    kind: str
    read: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    rejected: int = 0
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    freshness: Freshness | None = None
    was_applied_before: bool = False

    @property
    def loaded(self) -> int:
        """Rows that changed the target."""
        return self.inserted + self.updated + self.deleted

    def check(self) -> None:
        """Raises CountMismatch unless the counts add up (promise 6)."""
        if self.read != self.loaded + self.unchanged + self.rejected:
            raise CountMismatch(
                f"read {self.read} is not loaded {self.loaded} + unchanged {self.unchanged} + rejected {self.rejected}",
                place=f"stream {self.stream}, batch {self.batch_id}",
                remedy="nothing was committed; report it with the batch's manifest",
            )
