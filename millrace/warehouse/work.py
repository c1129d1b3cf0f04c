"""A batch on its way into its target: what was changed for it, and what was done when it was applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from millrace.lake.batch import Batch
from millrace.warehouse.modes.applier import Applied
from millrace.warehouse.schema.column_changes import Change, CreateTable
from millrace.warehouse.target import Target


@dataclass(frozen=True)
class Work:
    """One batch of a load."""

    target: Target
    """The target of the batch."""
    batch: Batch
    """The batch that is loaded."""
    changes: Sequence[Change] = ()
    """The schema changes that were made in the target."""
    changes_elsewhere: tuple[str, ...] = ()
    """The schema changes that were made in other tables of the pipeline, for people."""
    applied: Applied = field(default_factory=Applied)
    """How many rows of the target changed."""
    remarks: tuple[str, ...] = ()
    """What a person should know besides the counts."""

    @property
    def name(self) -> str:
        """Name of the stream or model."""
        return self.target.owner.name

    @property
    def creates_target(self) -> bool:
        """Whether the target was made for this batch."""
        return creates(self.changes, self.target)

    @property
    def has_table(self) -> bool:
        """Whether the target exists, once it was looked up. It does not while every row was rejected."""
        return self.target.columns is not None


def creates(changes: Sequence[Change], target: Target) -> bool:
    """Return whether one of the changes makes a target."""
    return any(isinstance(change, CreateTable) and change.table == target.table for change in changes)
