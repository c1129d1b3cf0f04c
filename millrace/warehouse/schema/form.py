"""The form of a table: the declaration by which it was made. Another declaration changes the table, like a new schema.

A form holds the load mode with its options, key, delete policy, binds, references and, for a model, the columns of its
result. It is recorded when rows are loaded (recorded_forms.py); a table without a record tells by its own columns which
mode made it (docs/decisions/0020-forms-of-tables.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from millrace.declaration.captures import Bind
from millrace.declaration.load_mode_base import LoadMode, load_mode_named
from millrace.warehouse.target import Target


@dataclass(frozen=True)
class Form:
    """The declaration by which a table was made."""

    load: str
    """Name of the load mode."""
    options: Mapping[str, Any]
    """The options of the load mode."""
    key: Sequence[str]
    """The columns that identify a row."""
    deletes: str
    """The delete policy."""
    binds: Mapping[str, Any] = field(default_factory=dict)
    """The binds, by column."""
    references: Mapping[str, str] = field(default_factory=dict)
    """The dimension that a column refers to, by column."""
    result: str = ""
    """Hash of the columns of a model; '': it is the form of a stream."""
    required: Sequence[str] = ()
    """The columns of a model that refuse NULL."""
    indexes: Mapping[str, str] = field(default_factory=dict)
    """The states of indexes, by their names."""
    function: str = ""
    """Hash of the function that last computed all rows of a model; '': it is a stream, or it was not recorded."""
    is_left: bool = False
    """Whether rows were loaded into the pipeline's streams while the model was not declared."""

    def as_json(self) -> str:
        """Return the text that is recorded; equal forms give equal texts."""
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS).decode()

    @classmethod
    def from_json(cls, text: str) -> Form:
        """Return the form that a recorded text holds."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in orjson.loads(text).items() if name in names})

    def without(self, dimension: str) -> Form:
        """Return the form without its bind and reference to a dimension, so that rows count as not bound to it."""
        binds = {column: bind for column, bind in self.binds.items() if bind["dimension"] != dimension}
        references = {column: name for column, name in self.references.items() if name != dimension}
        return replace(self, binds=binds, references=references)

    @property
    def named(self) -> frozenset[str]:
        """Names of the added columns that the options name."""
        mode = load_mode_named(self.load)
        return (
            frozenset(self.options[name] for name in mode.column_options if name in self.options)
            if mode
            else frozenset()
        )


def form_of(target: Target) -> Form:
    """Return the form that a target is declared with."""
    return Form(
        load=type(target.load).__name__,
        options=_options(target.load),
        key=target.keys,
        deletes=target.policies.deletes,
        binds={bind.column: bind_form(bind) for bind in target.relations.binds},
        references=dict(target.relations.references),
        result=_hash_of_result(target),
        required=sorted(target.derivation.required),
        function=target.derivation.function_hash,
    )


def other_function(target: Target, recorded: Form | None) -> str:
    """Return a warning if another function than now computed the rows of a model; '' if not."""
    function = target.derivation.function_hash
    if recorded is None or not recorded.function or not function or recorded.function == function:
        return ""
    return (
        f"the function of {target.owner.name} has changed: rows that do not change stay as the former one made them "
        f"until `{target.owner.full_run_command}`, or `{target.owner.reload_command}`, which computes all versions "
        "again"
    )


def bind_form(bind: Bind) -> dict[str, Any]:
    """Return a bind as it is recorded."""
    return {"dimension": bind.dimension, "by": list(bind.keys), "at": bind.at, "unknown": bind.unknown}


def _hash_of_result(target: Target) -> str:
    if not target.owner.is_model:
        return ""
    columns, required = target.derivation.columns, target.derivation.required
    lines = sorted(f"{column.name} {column.type} {column.name in required}" for column in columns)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _options(load: LoadMode) -> dict[str, Any]:
    options = {option.name: plain_value(getattr(load, option.name)) for option in fields(load)}
    return {name: sorted(value) if name == "untracked" else value for name, value in options.items()}


def plain_value(value: Any) -> Any:
    """Return the value of an option as JSON holds it."""
    match value:
        case Mapping():
            return {name: plain_value(item) for name, item in value.items()}
        case tuple() | list():
            return [plain_value(item) for item in value]
        case timedelta():
            return value.total_seconds()
        case datetime():
            return value.isoformat()
        case _:
            return value
