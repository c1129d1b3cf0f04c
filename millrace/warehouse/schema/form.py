"""The form of a table: what it was made by. A declaration of another form changes the table, as another schema does.

A form holds the load mode with its options, key, policy of deletes, binds, references, and of a model the columns of
its result. It is recorded when rows are loaded (recorded_forms.py); a table without a record tells by its own columns
which mode made it (docs/decisions/0020-forms-of-tables.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from millrace.base.naming import DELETED_AT, VERSION, VERSION_HASH
from millrace.declaration.captures import Bind
from millrace.declaration.load_modes import LoadMode, Scd2
from millrace.warehouse.modes import mode_of
from millrace.warehouse.modes.scd2 import Scd2Mode
from millrace.warehouse.schema.changes import Change, TargetTable
from millrace.warehouse.schema.changes_of_form import AllowNull, LeftOut, OtherForm, RenameColumn, SettleEnds, Told
from millrace.warehouse.target import Target

NAMES = ("record_id", "surrogate", "start", "end", "current")
"""Options that name columns of our own: the column is renamed."""
ENDS = ("gap", "open_end")
"""Options that say where versions end: all ends are settled again."""
_TELLING = {"Scd2": VERSION_HASH, "History": VERSION}
"""By mode, a column that tables of this mode alone have."""
_ONE_ROW_PER_KEY = {"Append", "Merge"}


@dataclass(frozen=True)
class Form:
    """``options`` are those of the mode ``load``. ``binds`` are by column, ``references`` the dimension by column.
    ``result`` is a hash of a model's columns ('': of a stream), ``required`` are those of them that refuse NULL.
    ``indexes`` are the states of indexes by their columns. ``function`` is a hash of the one that all rows of a model
    were computed by, the last that was ('': of a stream, or not recorded). ``is_left``: rows were loaded into the
    pipeline's streams while the model was not declared."""

    load: str
    options: Mapping[str, Any]
    key: Sequence[str]
    deletes: str
    binds: Mapping[str, Any] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)
    result: str = ""
    required: Sequence[str] = ()
    indexes: Mapping[str, str] = field(default_factory=dict)
    function: str = ""
    is_left: bool = False

    def as_json(self) -> str:
        """As it is recorded; equal forms give equal texts."""
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS).decode()

    @classmethod
    def from_json(cls, text: str) -> Form:
        """As it was recorded."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in orjson.loads(text).items() if name in known})

    def without(self, dimension: str) -> Form:
        """The form of a table whose rows are not bound to this dimension, and do not refer to it, yet."""
        binds = {column: bind for column, bind in self.binds.items() if bind["dimension"] != dimension}
        references = {column: name for column, name in self.references.items() if name != dimension}
        return replace(self, binds=binds, references=references)

    @property
    def named(self) -> frozenset[str]:
        """Names of the columns that the options name."""
        return frozenset(self.options[name] for name in NAMES if name in self.options)


def form_of(target: Target) -> Form:
    """As declared."""
    return Form(
        load=type(target.load).__name__,
        options=_options(target.load),
        key=target.keys,
        deletes=target.deletes,
        binds={bind.column: bind_form(bind) for bind in target.binds},
        references=dict(target.references),
        result=_hash_of_result(target),
        required=sorted(target.required),
        function=target.function,
    )


def other_function(target: Target, recorded: Form | None) -> str:
    """What a person should know where a model's rows were computed by another function than now; '' if not."""
    if recorded is None or not recorded.function or recorded.function == target.function:
        return ""
    return (
        f"the function of {target.member} has changed: rows that do not change stay as the former one made them until "
        f"`millrace run {target.cli_name} --full`, or `millrace reload {target.cli_name} {target.member}`, which "
        "computes all versions again"
    )


def bind_form(bind: Bind) -> dict[str, Any]:
    """As it is recorded."""
    return {"dimension": bind.dimension, "by": list(bind.keys), "at": bind.at, "unknown": bind.unknown}


def form_changes(target: Target, held: Collection[str], recorded: Form | None) -> list[Change]:
    """What has to change in a table, whose columns are ``held``, so that it is of the declared form; only what is
    refused, if anything is."""
    table = TargetTable(target.schema, target.table, target.dialect)
    if recorded is None:
        return list(_unrecorded(target, table, held))
    if recorded.is_left:
        return [LeftOut(table, f"make the table again: `millrace reload {target.cli_name} {target.member}`")]
    declared = form_of(target)
    changes = list(_other_mode(target, table, held, recorded, declared))
    if recorded.load == declared.load:
        changes += _other_options(target, table, held, recorded, declared)
        changes += _other_result(target, table, held, recorded, declared)
    changes += (
        Told(table, f"column {name} of {table} is bound no more; it is NULL in rows that are put in from now on")
        for name in recorded.binds
        if name in held and name not in declared.binds
    )
    return [change for change in changes if not change.additive] or changes


def renamed(held: Mapping[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    """The columns as they are called once the changes are made."""
    names = _names(changes)
    return {names.get(name, name): value for name, value in held.items()}


def renamed_indexes(recorded: Form | None, changes: Sequence[Change]) -> dict[str, str]:
    """The states of indexes as they are recorded once the changes are made."""
    names = _names(changes)
    found = {}
    for index, state in (recorded.indexes if recorded else {}).items():
        table, _, columns = index.partition(":")
        found[f"{table}:{','.join(names.get(one, one) for one in columns.split(','))}"] = state
    return found


def _names(changes: Sequence[Change]) -> dict[str, str]:
    return {change.old: change.new for change in changes if isinstance(change, RenameColumn)}


def _unrecorded(target: Target, table: TargetTable, held: Collection[str]) -> Iterator[Change]:
    """Of a table that an earlier version of this program made."""
    declared = type(target.load).__name__
    made = next((mode for mode, column in _TELLING.items() if column in held), "")
    if made != (declared if declared in _TELLING else ""):
        yield _refused(target, table, f"was loaded by {made or 'a mode without versions'}", f"load={declared}", "load")
        return
    own = [column.name for column in (*target.load.leading, *target.load.trailing(target.deletes))]
    lacking = [name for name in own if name not in held] if made else []
    if lacking:
        was = f"has no column {', '.join(lacking)}, and what it was loaded by is not recorded yet"
        yield OtherForm(
            table,
            "declare the names that the table has and run once, which records them: then they may be changed; or "
            f"{_again(target)}",
            was,
            f"{', '.join(lacking)} as columns of {declared}",
        )
    elif isinstance(target.load, Scd2):
        yield from _settle(target, table)


def _other_mode(
    target: Target, table: TargetTable, held: Collection[str], recorded: Form, declared: Form
) -> Iterator[Change]:
    if recorded.load != declared.load:
        to_append = declared.load == "Append"
        if {recorded.load, declared.load} == _ONE_ROW_PER_KEY and not (to_append and DELETED_AT in held):
            yield Told(
                table,
                f"rows of {table} stay as they are from now on"
                if to_append
                else f"rows of {table} that changed before stay as they came first until they are read again "
                "(`millrace run --full`, or a sweep)",
            )
        else:
            yield _refused(target, table, f"was loaded by {recorded.load}", f"load={declared.load}", "load")
    # Versions of Scd2 are numbered by their key, column by column.
    ordered = tuple if declared.load == "Scd2" else frozenset
    if ordered(recorded.key) != ordered(declared.key) and declared.load != "Replace":
        made, wanted = (f"the key ({', '.join(one.key)})" for one in (recorded, declared))
        yield _refused(target, table, f"was loaded with {made}", wanted, "the key")
    is_hard_now = (recorded.deletes, declared.deletes) == ("soft", "hard")
    if is_hard_now and DELETED_AT in held and not target.load.keeps_versions:
        yield Told(table, f"rows of {table} that are marked as deleted stay; rows that leave from now on are taken out")


def _other_options(
    target: Target, table: TargetTable, held: Collection[str], recorded: Form, declared: Form
) -> Iterator[Change]:
    # An option that came after the record had the default then.
    made = {one.name: _plain(one.default) for one in fields(target.load)} | dict(recorded.options)
    others = [name for name, value in declared.options.items() if made[name] != value]
    yield from _renames(table, held, {made[name]: declared.options[name] for name in others if name in NAMES})
    for name in others:
        if name not in {*NAMES, *ENDS}:
            was = f"was loaded with {name}={made[name]!r}"
            yield _refused(target, table, was, f"{name}={declared.options[name]!r}", name)
    if {*others} & {*ENDS}:
        yield from _settle(target, table)


def _renames(table: TargetTable, held: Collection[str], names: Mapping[str, str]) -> Iterator[Change]:
    """Of columns that are still called as before: a run that did not end may have renamed some."""
    for old, new in names.items():
        if old in held and new in held:
            wanted = f"that name for {old}"
            yield OtherForm(table, "declare a name that no column of it has", f"has a column {new} already", wanted)
        elif old in held:
            yield RenameColumn(table, old, new)


def _other_result(
    target: Target, table: TargetTable, held: Collection[str], recorded: Form, declared: Form
) -> Iterator[Change]:
    if not recorded.result or recorded.result == declared.result:
        return
    yield Told(
        table,
        f"the columns of the model's result are others: rows of {table} are as its function gave them before, NULL in "
        f"added columns, until they are computed again (`millrace run {target.cli_name} --full`; or {_again(target)})",
    )
    arriving = {column.name for column in target.columns}
    for name in recorded.required:
        if name in held and name not in {*declared.required, *declared.key}:
            if target.dialect.drops_not_null:
                yield AllowNull(table, name)
            else:
                wanted = f"{name} {'that may be NULL' if name in arriving else 'no more'}"
                yield _refused(target, table, f"has a column {name} that is never NULL", wanted, name)


def _refused(target: Target, table: TargetTable, was: str, declared: str, what: str) -> OtherForm:
    return OtherForm(table, f"declare {what} as before, or {_again(target)}", was, declared)


def _again(target: Target) -> str:
    """How the table is made again by another form."""
    if target.is_model:
        return f"make the table again: `millrace reload {target.cli_name} {target.member}`"
    return f"give the stream another target, or drop {target.name}: the next run loads all of it"


def _settle(target: Target, table: TargetTable) -> Iterator[Change]:
    mode = mode_of(target)
    if isinstance(mode, Scd2Mode):
        yield SettleEnds(table, mode.settle_all())


def _hash_of_result(target: Target) -> str:
    if not target.is_model:
        return ""
    lines = sorted(f"{one.name} {one.type} {one.name in target.required}" for one in target.columns)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _options(load: LoadMode) -> dict[str, Any]:
    options = {one.name: _plain(getattr(load, one.name)) for one in fields(load)}
    return {name: sorted(value) if name == "untracked" else value for name, value in options.items()}


def _plain(value: Any) -> Any:
    """As JSON holds it."""
    match value:
        case Mapping():
            return {name: _plain(one) for name, one in value.items()}
        case tuple() | list():
            return [_plain(one) for one in value]
        case timedelta():
            return value.total_seconds()
        case datetime():
            return value.isoformat()
        case _:
            return value
