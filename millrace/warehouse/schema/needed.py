"""Which changes targets need, by what the catalog and the ledger say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from millrace.base.types import Column, DataType
from millrace.warehouse import statements
from millrace.warehouse.binding import Binding
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.schema.catalog import Catalog
from millrace.warehouse.schema.changes import Change, CreateTable, TargetTable
from millrace.warehouse.schema.changes_of_form import BindRows, CompleteReference
from millrace.warehouse.schema.difference import changes_for
from millrace.warehouse.schema.form import bind_form, form_changes, form_of, other_function, renamed, renamed_indexes
from millrace.warehouse.schema.indexes import MADE, Indexes
from millrace.warehouse.schema.migrate import make_room
from millrace.warehouse.schema.recorded_forms import RecordedForms
from millrace.warehouse.session import count
from millrace.warehouse.target import Target

_UNMEASURED: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Needs:
    """Of the targets of one pipeline, as one connection sees them. ``indexes`` are the states of their indexes once the
    changes are made, by member; ``completed`` the columns, by member, of which all rows' keys may be missing in what
    they refer to; ``longest_keys`` the bytes of the longest key, by the dimension that is referred to."""

    connection: Any
    ledger: Ledger
    catalog: Catalog
    forms: RecordedForms
    models: Mapping[str, Target]
    indexes: dict[str, dict[str, str]] = field(default_factory=dict)
    completed: dict[str, set[str]] = field(default_factory=dict)
    longest_keys: Counter[str] = field(default_factory=Counter)

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
        held, recorded = self.catalog.held(target), self.forms.of(target)
        longest_bytes = self._with_keys(target, longest_bytes)
        of_form = [] if held is None else form_changes(target, held, recorded)
        if any(not change.additive for change in of_form):
            return of_form
        of_columns = changes_for(
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
        )
        states = renamed_indexes(recorded, of_form)
        changes = [*of_form, *self._with_indexes(target, of_columns, columns, longest_bytes, states)]
        for table in target.beside:
            changes += self._beside(table, columns, longest_bytes, states)
        return changes if held is None else [*changes, *self._of_facts(target)]

    def _beside(
        self, table: Target, columns: Sequence[Column], longest_bytes: Mapping[str, int], states: Mapping[str, str]
    ) -> list[Change]:
        """Of a table that a load mode keeps beside its target; it is made with the first rows."""
        if not columns:
            return []
        of_columns = changes_for(
            table.schema,
            table.table,
            self.catalog.held(table),
            [column for column in columns if column.name not in table.consumed],
            table.keys,
            longest_bytes,
            table.dialect,
            trailing=table.trailing,
        )
        return self._with_indexes(table, of_columns, columns, longest_bytes, states)

    def _with_indexes(
        self,
        target: Target,
        changes: Sequence[Change],
        columns: Sequence[Column],
        longest_bytes: Mapping[str, int],
        states: Mapping[str, str],
    ) -> list[Change]:
        """The changes, and those of the table's indexes."""
        held = self.catalog.held(target)
        arriving: dict[str, DataType | None] = {column.name: column.type for column in columns}
        indexes = Indexes(target, arriving | (held or {}), longest_bytes)
        own = self.indexes.setdefault(target.member, {})
        if held is not None:
            of_indexes, now = indexes.changes(self.connection, states)
            own |= now
            return [*changes, *of_indexes]
        wanted = indexes.of_new_table()
        own |= {one.name: state for one, state in wanted.items()}
        made = tuple((one.columns, one.where) for one, state in wanted.items() if state == MADE)
        return [replace(one, indexes=made) if isinstance(one, CreateTable) else one for one in changes]

    def refer(self, fact: Target, longest_bytes: Mapping[str, int]) -> None:
        """Dimensions must hold the keys that a fact brings, and those that it holds where they are not there yet."""
        held, recorded = self.catalog.held(fact) or {}, self.forms.of(fact)
        for column, name in fact.references.items():
            there = held.get(column)
            is_recorded = recorded is not None and recorded.references.get(column) == name
            former = there.length or 0 if there is not None and not is_recorded else 0
            self.longest_keys[name] = max(self.longest_keys[name], longest_bytes.get(column, 0), former)

    def _with_keys(self, target: Target, longest_bytes: Mapping[str, int]) -> Mapping[str, int]:
        longest = self.longest_keys[target.member] if target.is_model else 0
        if longest <= longest_bytes.get(target.keys[0] if longest else "", 0):
            return longest_bytes
        return {**longest_bytes, target.keys[0]: longest}

    def prepare(self, target: Target) -> list[Change]:
        """Make the changes that a table needs before it is read, whatever is loaded into it; they are none where there
        is no table. Commits. Raises SchemaConflict for a change that is refused."""
        if self.catalog.held(target) is None:
            return []
        recorded = self.ledger.columns(target.pipeline, target.member) if target.is_model else {}
        held = self.catalog.held(target) or {}
        # A column that was loaded and is gone is added by a read of everything alone, which fills it.
        columns = [one for one in target.columns if one.name in held or one.name not in recorded]
        changes = self.changes(target, columns)
        self.make(target, changes)
        return changes

    def make(self, target: Target, changes: Sequence[Change]) -> None:
        """Commits. Raises SchemaConflict for a change that is refused."""
        if changes:
            self.catalog.forget()
            make_room(self.connection, changes, target.schema_policy, target.place)

    def record(self, target: Target, at: datetime, *, is_of_all: bool = False) -> None:
        """The form of a table that is there; the function only where all rows were computed by it. The caller
        commits."""
        if self.catalog.held(target) is None:
            return
        form, recorded = form_of(target), self.forms.of(target)
        if recorded is not None and other_function(target, recorded) and not is_of_all:
            form = replace(form, function=recorded.function)
        self.forms.record(target, replace(form, indexes=self.indexes.get(target.member, {})), at)

    def _of_facts(self, target: Target) -> Iterator[Change]:
        """Binds and references that the rows which are there were not loaded with."""
        table, recorded = TargetTable(target.schema, target.table, target.dialect), self.forms.of(target)
        binds = [one for one in target.binds if not recorded or recorded.binds.get(one.column) != bind_form(one)]
        references = [
            (column, name)
            for column, name in target.references.items()
            if not recorded or recorded.references.get(column) != name
        ]
        if not binds and not references:
            return
        with self.connection.cursor() as cursor:
            rows = count(cursor, statements.count_all(target.quoted))
        if not rows:
            return
        for bind in binds:
            one = Binding(target, bind, self.models[bind.dimension])
            write = one.write(f"({target.dialect.clock} AT TIME ZONE 'UTC')")
            drop = statements.drop_temporary(target.bound)
            yield BindRows(table, bind.column, one.dimension.name, rows, drop, one.find_all(), write)
        self.completed[target.member] = {column for column, _ in references}
        for column, name in references:
            yield CompleteReference(table, column, self.models[name].name)


def needs_of(connection: Any, ledger: Ledger, targets: Sequence[Target], models: Mapping[str, Target]) -> Needs:
    """Of targets of one pipeline, and all of its models."""
    forms = RecordedForms(connection, ledger, targets[0].pipeline)
    return Needs(connection, ledger, Catalog(connection, [*targets, *models.values()]), forms, models)
