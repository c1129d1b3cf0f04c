"""What a load did, in numbers that add up, and what a person should know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from millrace.base.errors import CountMismatch
from millrace.warehouse.freshness import Freshness


@dataclass(frozen=True)
class LoadResult:
    """What loading one batch did: ``read`` = ``loaded`` + ``unchanged`` + ``rejected``."""

    pipeline: str
    """Name of the pipeline."""
    stream: str
    """Name of the stream or model."""
    target: str
    """``schema.table`` of its target."""
    batch_id: str
    """Id of the batch."""
    kind: str
    """How the batch came about: window, sweep, snapshot, log, replay, model."""
    read: int = 0
    """Number of rows that the source gave, and of rows of the target that it lacks."""
    inserted: int = 0
    """Number of rows with new keys."""
    updated: int = 0
    """Number of rows that replaced others."""
    deleted: int = 0
    """Number of rows that were deleted, marked or closed."""
    unchanged: int = 0
    """Number of rows that were in the target as they were read."""
    rejected: int = 0
    """Number of rows that are not loaded."""
    changes: tuple[str, ...] = ()
    """The schema changes that were made."""
    warnings: tuple[str, ...] = ()
    """What a person should look at."""
    freshness: Freshness | None = None
    """How old the changes were when they became visible; None if that is not known."""
    seconds: float = 0
    """How long the load of all batches together took."""
    was_applied_before: bool = False
    """Whether an earlier load applied the batch; then these are its recorded counts."""

    @property
    def loaded(self) -> int:
        """Number of rows that changed the target."""
        return self.inserted + self.updated + self.deleted

    def check(self) -> None:
        """Raise CountMismatch unless the counts add up (promise 6)."""
        if self.read != self.loaded + self.unchanged + self.rejected:
            raise CountMismatch(
                f"read {self.read} is not loaded {self.loaded} + unchanged {self.unchanged} + rejected {self.rejected}",
                place=f"stream {self.stream}, batch {self.batch_id}",
                remedy="nothing was committed; report it with the batch's manifest",
            )


def add_results(results: Sequence[LoadResult]) -> LoadResult:
    """Return the sum of what batches of one stream did, in the order in which they were loaded."""
    ages = [result.freshness for result in results if result.freshness is not None]
    return replace(
        results[-1],
        read=sum(result.read for result in results),
        inserted=sum(result.inserted for result in results),
        updated=sum(result.updated for result in results),
        deleted=sum(result.deleted for result in results),
        unchanged=sum(result.unchanged for result in results),
        rejected=sum(result.rejected for result in results),
        changes=tuple(dict.fromkeys(change for result in results for change in result.changes)),
        warnings=tuple(dict.fromkeys(warning for result in results for warning in result.warnings)),
        freshness=max(ages, key=lambda age: age.max_seconds or 0.0, default=None),
    )
