"""Which changes a table needs to have the declared form (docs/decisions/0020-forms-of-tables.md)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields

from millrace.base.naming import DELETED_AT, VERSION, VERSION_HASH
from millrace.declaration.load_mode_base import load_mode_named
from millrace.warehouse.modes.applier import applier_of
from millrace.warehouse.schema.column_changes import Change
from millrace.warehouse.schema.form import Form, form_of, plain_value
from millrace.warehouse.schema.form_changes import AllowNull, LeftOut, Notice, OtherForm, RenameColumn, SettleEnds
from millrace.warehouse.table import Table
from millrace.warehouse.target import Target, TargetColumns

_TELLING = {"Scd2": VERSION_HASH, "History": VERSION}
"""Columns that only tables of one load mode have, for the modes that existed before forms were recorded."""


def find_form_changes(target: Target, existing: Collection[str], recorded: Form | None) -> list[Change]:
    """Return the changes with which a table with the ``existing`` columns has the declared form.

    If any change is refused, only refused changes are returned.
    """
    table = target.table
    if recorded is None:
        return list(_find_unrecorded(target, table, existing))
    if recorded.is_left:
        return [LeftOut(table, f"make the table again: `{target.owner.reload_command}`")]
    declared = form_of(target)
    changes = list(_find_other_mode(target, table, existing, recorded, declared))
    if recorded.load == declared.load:
        changes += _find_other_options(target, table, existing, recorded, declared)
        changes += _find_other_result(target, table, existing, recorded, declared)
    changes += (
        Notice(table, f"column {name} of {table} is bound no more; it is NULL in rows that are put in from now on")
        for name in recorded.binds
        if name in existing and name not in declared.binds
    )
    return [change for change in changes if not change.additive] or changes


def rename_columns(existing: TargetColumns, changes: Sequence[Change]) -> TargetColumns:
    """Return the columns of a table under their names after the changes."""
    names = _names(changes)
    return {names.get(name, name): data_type for name, data_type in existing.items()}


def rename_indexes(recorded: Form | None, changes: Sequence[Change]) -> dict[str, str]:
    """Return the states of indexes as they are recorded after the changes."""
    names = _names(changes)
    found = {}
    for index, state in (recorded.indexes if recorded else {}).items():
        table, _, columns = index.partition(":")
        found[f"{table}:{','.join(names.get(column, column) for column in columns.split(','))}"] = state
    return found


def _names(changes: Sequence[Change]) -> dict[str, str]:
    return {change.old: change.new for change in changes if isinstance(change, RenameColumn)}


def _find_unrecorded(target: Target, table: Table, existing: Collection[str]) -> Iterator[Change]:
    """Find the changes of a table that was made before forms were recorded."""
    declared = type(target.load).__name__
    made = next((mode for mode, column in _TELLING.items() if column in existing), "")
    if made != (declared if declared in _TELLING else ""):
        yield _refuse(target, table, f"was loaded by {made or 'a mode without versions'}", f"load={declared}", "load")
        return
    added = [column.name for column in (*target.load.leading, *target.load.trailing(target.policies.deletes))]
    lacking = [name for name in added if name not in existing] if made else []
    if lacking:
        was = f"has no column {', '.join(lacking)}, and what it was loaded by is not recorded yet"
        yield OtherForm(
            table,
            "declare the names that the table has and run once, which records them: then they may be changed; or "
            f"{_how_to_make_again(target)}",
            was,
            f"{', '.join(lacking)} as columns of {declared}",
        )
    else:
        yield from _settle_ends(target, table)


def _find_other_mode(
    target: Target, table: Table, existing: Collection[str], recorded: Form, declared: Form
) -> Iterator[Change]:
    if recorded.load != declared.load:
        keeps_first_rows = target.load.keeps_first_rows
        keeps_mark = DELETED_AT not in existing or DELETED_AT in target.added_columns or not keeps_first_rows
        if _continues(target, recorded) and keeps_mark:
            yield Notice(
                table,
                f"rows of {table} stay as they are from now on"
                if keeps_first_rows
                else f"rows of {table} that changed before stay as they came first until they are read again "
                "(`millrace run --full`, or a sweep)",
            )
        else:
            yield _refuse(target, table, f"was loaded by {recorded.load}", f"load={declared.load}", "load")
    ordered = tuple if target.load.depends_on_key_order else frozenset
    if ordered(recorded.key) != ordered(declared.key) and target.load.needs_key:
        made, wanted = (f"the key ({', '.join(form.key)})" for form in (recorded, declared))
        yield _refuse(target, table, f"was loaded with {made}", wanted, "the key")
    is_hard_now = (recorded.deletes, declared.deletes) == ("soft", "hard")
    if is_hard_now and DELETED_AT in existing and not target.load.keeps_versions:
        yield Notice(
            table, f"rows of {table} that are marked as deleted stay; rows that leave from now on are taken out"
        )


def _continues(target: Target, recorded: Form) -> bool:
    """Return whether rows that the recorded mode loaded are equal to rows that the declared mode would have loaded."""
    former = load_mode_named(recorded.load)
    return former is not None and former.has_one_row_per_key and target.load.has_one_row_per_key


def _find_other_options(
    target: Target, table: Table, existing: Collection[str], recorded: Form, declared: Form
) -> Iterator[Change]:
    # An option that came after the record had the default then.
    made = {option.name: plain_value(option.default) for option in fields(target.load)} | dict(recorded.options)
    others = [name for name, value in declared.options.items() if made[name] != value]
    columns, ends = target.load.column_options, target.load.end_options
    yield from _rename(table, existing, {made[name]: declared.options[name] for name in others if name in columns})
    for name in others:
        if name not in {*columns, *ends}:
            was = f"was loaded with {name}={made[name]!r}"
            yield _refuse(target, table, was, f"{name}={declared.options[name]!r}", name)
    if {*others} & {*ends}:
        yield from _settle_ends(target, table)


def _rename(table: Table, existing: Collection[str], names: Mapping[str, str]) -> Iterator[Change]:
    """Yield renames of the columns that still have their former names. An earlier run may have renamed some of them."""
    for old, new in names.items():
        if old in existing and new in existing:
            wanted = f"that name for {old}"
            yield OtherForm(table, "declare a name that no column of it has", f"has a column {new} already", wanted)
        elif old in existing:
            yield RenameColumn(table, old, new)


def _find_other_result(
    target: Target, table: Table, existing: Collection[str], recorded: Form, declared: Form
) -> Iterator[Change]:
    if not recorded.result or recorded.result == declared.result:
        return
    yield Notice(
        table,
        f"the columns of the model's result are others: rows of {table} are as its function gave them before, NULL in "
        f"added columns, until they are computed again (`{target.owner.full_run_command}`; or "
        f"{_how_to_make_again(target)})",
    )
    arriving = {column.name for column in target.derivation.columns}
    for name in recorded.required:
        if name in existing and name not in {*declared.required, *declared.key}:
            if target.dialect.drops_not_null:
                yield AllowNull(table, name)
            else:
                wanted = f"{name} {'that may be NULL' if name in arriving else 'no more'}"
                yield _refuse(target, table, f"has a column {name} that is never NULL", wanted, name)


def _refuse(target: Target, table: Table, was: str, declared: str, what: str) -> OtherForm:
    return OtherForm(table, f"declare {what} as before, or {_how_to_make_again(target)}", was, declared)


def _how_to_make_again(target: Target) -> str:
    """Return how a person makes the table again with another form."""
    if target.owner.is_model:
        return f"make the table again: `{target.owner.reload_command}`"
    return f"give the stream another target, or drop {target.name}: the next run loads all of it"


def _settle_ends(target: Target, table: Table) -> Iterator[Change]:
    if statement := applier_of(target).settle_ends():
        yield SettleEnds(table, statement)
