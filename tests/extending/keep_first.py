"""A load mode that the product does not have, as docs/extending.md shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from millrace.declaration.load_mode_base import LoadMode
from millrace.warehouse.difference import create_changed
from millrace.warehouse.modes.applier import Application, Applied, make_applier
from millrace.warehouse.modes.merge import MergeApplier, replace_changed


@dataclass(frozen=True)
class KeepFirst(LoadMode):
    """One row per key, as it came first; it is deleted when its source has it no more."""

    keeps_first_rows: ClassVar[bool] = True
    takes_messages: ClassVar[bool] = True
    has_one_row_per_key: ClassVar[bool] = True


@make_applier.register(KeepFirst)
class KeepFirstApplier(MergeApplier):
    """Inserts rows of new keys, and deletes as ``Merge`` does."""

    @override
    def upsert(self, application: Application) -> Applied:
        batch = application.batch
        changed = create_changed(
            self.target, batch.columns, self.latest(batch), only_new=True, by_value=batch.coverage.by_value
        )
        application.cursor.execute(changed)
        return replace_changed(self, application)
