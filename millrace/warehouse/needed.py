"""Which changes targets need, by what the catalog and the ledger say of them.

What does not belong here: which changes of columns (schema.py) and of the form (form.py) there are, making them
(room.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from millrace.types import Column
from millrace.warehouse.catalog import Catalog
from millrace.warehouse.changes import Change
from millrace.warehouse.form import form_changes, renamed
from millrace.warehouse.ledger import Ledger
from millrace.warehouse.recorded_forms import RecordedForms
from millrace.warehouse.room import make_room
from millrace.warehouse.schema import changes_for
from millrace.warehouse.target import Target

_UNMEASURED: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Needs:
    """Of the targets of one pipeline, as one connection sees them."""

    ledger: Ledger
    catalog: Catalog
    forms: RecordedForms

    def changes(
        self,
        target: Target,
        columns: Sequence[Column] = (),
        longest_bytes: Mapping[str, int] = _UNMEASURED,
        *,
        is_whole: bool = False,
    ) -> list[Change]:
        """The changes with which a target takes these columns (none: as it is to be whatever is loaded). Raises
        ConfigurationError if it cannot take them."""
        target.check_columns(columns)
        beside = [change for table in target.beside for change in self._beside(table, columns, longest_bytes)]
        held = self.catalog.held(target)
        of_form = [] if held is None else form_changes(target, held, self.forms.of(target))
        if any(not change.additive for change in of_form):
            return of_form
        return [
            *of_form,
            *changes_for(
                target.schema,
                target.table,
                None if held is None else renamed(held, of_form),
                [column for column in columns if column.name not in target.consumed],
                target.keys,
                longest_bytes,
                target.dialect,
                leading=target.leading,
                trailing=target.trailing,
                required=target.required,
                needed=target.needed,
                sorted_by=target.sorted_by,
                recorded=self.ledger.columns(target.pipeline, target.member) if columns else {},
                is_whole=is_whole,
            ),
            *beside,
        ]

    def _beside(self, table: Target, columns: Sequence[Column], longest_bytes: Mapping[str, int]) -> list[Change]:
        """Of a table that a load mode keeps beside its target; it is made with the first rows."""
        if not columns:
            return []
        return changes_for(
            table.schema,
            table.table,
            self.catalog.held(table),
            [column for column in columns if column.name not in table.consumed],
            table.keys,
            longest_bytes,
            table.dialect,
            trailing=table.trailing,
        )

    def prepare(self, connection: Any, target: Target) -> list[Change]:
        """Make the changes that a table needs before it is read, whatever is loaded into it; they are none where there
        is no table. Commits. Raises SchemaConflict for a change that is refused."""
        if self.catalog.held(target) is None:
            return []
        changes = self.changes(target)
        if changes:
            self.catalog.forget()
            make_room(connection, changes, target.schema_policy, target.place)
        return changes


def needs_of(connection: Any, ledger: Ledger, targets: Sequence[Target]) -> Needs:
    """Of targets of one pipeline."""
    return Needs(ledger, Catalog(connection, targets), RecordedForms(connection, ledger, targets[0].pipeline))
