"""Which schema changes targets need, by the catalog and the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from millrace.warehouse import statements
from millrace.warehouse.bind_statements import Binding
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.schema.catalog import Catalog
from millrace.warehouse.schema.column_changes import Change, CreateTable
from millrace.warehouse.schema.columns import NOTHING_RECORDED, ArrivingColumns, find_column_changes
from millrace.warehouse.schema.form import bind_form, form_of, other_function
from millrace.warehouse.schema.form_changes import BindRows, CompleteReference
from millrace.warehouse.schema.indexes import MADE, Indexes
from millrace.warehouse.schema.make_changes import make_changes
from millrace.warehouse.schema.other_form import find_form_changes, rename_columns, rename_indexes
from millrace.warehouse.schema.recorded_forms import RecordedForms
from millrace.warehouse.session import fetch_count
from millrace.warehouse.target import Target, TargetColumns


@dataclass(frozen=True)
class Needs:
    """What the targets of one pipeline need, as one connection sees them."""

    connection: Any
    """The session of the load."""
    ledger: Ledger
    """The ledger as this connection sees it."""
    catalog: Catalog
    """The columns of all targets."""
    forms: RecordedForms
    """The forms of all targets."""
    models: Mapping[str, Target]
    """The targets of all models of the pipeline, by name."""
    indexes: dict[str, dict[str, str]] = field(default_factory=dict)
    """The states of indexes after the changes, by stream or model."""
    completed: dict[str, set[str]] = field(default_factory=dict)
    """Columns, by model, that hold keys which the dimensions that they refer to may lack, in any row."""
    longest_keys: Counter[str] = field(default_factory=Counter)
    """The length of the longest key in bytes, by the dimension that is referred to."""

    def find_changes(self, target: Target, arriving: ArrivingColumns) -> list[Change]:
        """Return the changes with which a target takes the arriving columns.

        Without arriving columns these are the changes that it needs whatever is loaded. Raises ConfigurationError if it
        cannot take them.
        """
        target.check_columns(arriving.columns)
        existing, recorded = self.catalog.find_columns(target), self.forms.find(target)
        arriving = self._with_longest_key(target, arriving)
        of_form = [] if existing is None else find_form_changes(target, existing, recorded)
        if any(not change.additive for change in of_form):
            return of_form
        renamed = None if existing is None else rename_columns(existing, of_form)
        recorded_columns = (
            self.ledger.list_columns(target.owner.pipeline, target.owner.name) if arriving.columns else NOTHING_RECORDED
        )
        of_columns = find_column_changes(target, renamed, recorded_columns, arriving)
        states = rename_indexes(recorded, of_form)
        changes = [*of_form, *self._with_indexes(target, of_columns, arriving, states)]
        # Tables beside the target are made with the first rows.
        for table in target.tables_beside if arriving.columns else ():
            of_table = find_column_changes(table, self.catalog.find_columns(table), NOTHING_RECORDED, arriving)
            changes += self._with_indexes(table, of_table, arriving, states)
        return changes if existing is None else [*changes, *self._find_unrelated(target)]

    def _with_indexes(
        self, target: Target, changes: Sequence[Change], arriving: ArrivingColumns, states: Mapping[str, str]
    ) -> list[Change]:
        """Return the changes of a table and those of its indexes."""
        existing = self.catalog.find_columns(target)
        columns: TargetColumns = {column.name: column.type for column in arriving.columns}
        indexes = Indexes(target, {**columns, **(existing or {})}, arriving.longest_bytes)
        recorded = self.indexes.setdefault(target.owner.name, {})
        if existing is not None:
            of_indexes, now = indexes.find_changes(self.connection, states)
            recorded |= now
            return [*changes, *of_indexes]
        wanted = indexes.of_new_table()
        recorded |= {index.name: state for index, state in wanted.items()}
        made = tuple((index.columns, index.where) for index, state in wanted.items() if state == MADE)
        return [replace(change, indexes=made) if isinstance(change, CreateTable) else change for change in changes]

    def refer(self, fact: Target, longest_bytes: Mapping[str, int]) -> None:
        """Remember how long the keys are that a fact brings, and the keys of its rows that dimensions may lack."""
        existing, recorded = self.catalog.find_columns(fact) or {}, self.forms.find(fact)
        for column, name in fact.relations.references.items():
            former = existing.get(column)
            is_recorded = recorded is not None and recorded.references.get(column) == name
            former_bytes = former.length or 0 if former is not None and not is_recorded else 0
            self.longest_keys[name] = max(self.longest_keys[name], longest_bytes.get(column, 0), former_bytes)

    def _with_longest_key(self, target: Target, arriving: ArrivingColumns) -> ArrivingColumns:
        longest = self.longest_keys[target.owner.name] if target.owner.is_model else 0
        if not longest or longest <= arriving.longest(target.keys[0]):
            return arriving
        return replace(arriving, longest_bytes={**arriving.longest_bytes, target.keys[0]: longest})

    def prepare(self, target: Target) -> list[Change]:
        """Make the changes that a table needs before it is read, whatever is loaded into it. Commits.

        There are none if there is no table. Raises SchemaConflict for a change that is refused.
        """
        existing = self.catalog.find_columns(target)
        if existing is None:
            return []
        is_model = target.owner.is_model
        recorded = self.ledger.list_columns(target.owner.pipeline, target.owner.name) if is_model else {}
        # A column that was loaded and is gone is added by a read of everything alone, which fills it.
        columns = [
            column for column in target.derivation.columns if column.name in existing or column.name not in recorded
        ]
        changes = self.find_changes(target, ArrivingColumns(columns))
        self.make(target, changes)
        return changes

    def make(self, target: Target, changes: Sequence[Change]) -> None:
        """Make changes; commits. Raises SchemaConflict for a change that is refused."""
        if changes:
            self.catalog.forget()
            make_changes(self.connection, changes, target.policies.schema_policy, target.place)

    def record(self, target: Target, at: datetime, *, is_of_all: bool = False) -> None:
        """Record the form of a table that is there. The caller commits.

        Its function is recorded only if that computed all rows (``is_of_all``).
        """
        if self.catalog.find_columns(target) is None:
            return
        form, recorded = form_of(target), self.forms.find(target)
        if recorded is not None and other_function(target, recorded) and not is_of_all:
            form = replace(form, function=recorded.function)
        self.forms.record(target, replace(form, indexes=self.indexes.get(target.owner.name, {})), at)

    def _find_unrelated(self, target: Target) -> Iterator[Change]:
        """Find binds and references with which the rows of a table were not loaded."""
        recorded, relations = self.forms.find(target), target.relations
        binds = [bind for bind in relations.binds if not recorded or recorded.binds.get(bind.column) != bind_form(bind)]
        references = [
            (column, name)
            for column, name in relations.references.items()
            if not recorded or recorded.references.get(column) != name
        ]
        if not binds and not references:
            return
        with self.connection.cursor() as cursor:
            rows = fetch_count(cursor, statements.count_all(target.quoted))
        if not rows:
            return
        for bind in binds:
            binding = Binding(target, bind, self.models[bind.dimension])
            write = binding.write(f"({target.dialect.clock} AT TIME ZONE 'UTC')")
            drop = statements.drop_temporary(target.temporary.rows_to_bind)
            yield BindRows(target.table, bind.column, binding.dimension.name, rows, drop, binding.find_all(), write)
        self.completed[target.owner.name] = {column for column, _ in references}
        for column, name in references:
            yield CompleteReference(target.table, column, self.models[name].name)


def needs_of(connection: Any, ledger: Ledger, targets: Sequence[Target], models: Mapping[str, Target]) -> Needs:
    """Return the needs of some targets of a pipeline and of all of its models."""
    forms = RecordedForms(connection, ledger, targets[0].owner.pipeline)
    return Needs(connection, ledger, Catalog(connection, [*targets, *models.values()]), forms, models)
