"""A table of the warehouse to which batches of a stream or a model are applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from millrace.base.errors import ConfigurationError
from millrace.base.naming import DELETED_AT
from millrace.base.types import INT64, TIME_KINDS, Column, DataType, Kind
from millrace.declaration.captures import Bind, DeletePolicy, Reconcile, SchemaPolicy
from millrace.declaration.load_mode_base import LoadMode
from millrace.declaration.load_modes import Merge
from millrace.declaration.masks import Mask
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.table import Table, TemporaryTables

TargetColumns = Mapping[str, DataType | None]
"""The columns that a table has now, by name and in order. A type is None if Millrace never makes it."""


def mask_nothing(_path: str) -> Mask | None:
    """Return no mask, whatever the field is."""
    return None


@dataclass(frozen=True)
class Owner:
    """The stream or model whose rows a target holds."""

    pipeline: str
    """Name of the pipeline."""
    name: str
    """Name of the stream or model."""
    place: str
    """How errors name the stream or model."""
    cli_name: str
    """How a command names the pipeline: by its name, or by the path of its file."""
    is_model: bool = False
    """Whether the owner is a model."""

    @property
    def run_command(self) -> str:
        """The command that runs the pipeline."""
        return f"millrace run {self.cli_name}"

    @property
    def full_run_command(self) -> str:
        """The command that reads everything and computes models from it."""
        return f"millrace run {self.cli_name} --full"

    @property
    def sweep_command(self) -> str:
        """The command that compares the sources with the targets."""
        return f"millrace sweep {self.cli_name}"

    @property
    def reload_command(self) -> str:
        """The command that makes the table of the stream or model from the beginning."""
        return f"millrace reload {self.cli_name} {self.name}"


@dataclass(frozen=True)
class Policies:
    """What a load may do to a target."""

    deletes: DeletePolicy = "hard"
    """What happens to a row that was deleted in the source."""
    schema_policy: SchemaPolicy = "evolve"
    """Which schema changes are made."""
    reconcile: Reconcile | None = None
    """Whether the target is compared with the source after a load."""
    max_delete_share: float = 1.0
    """The greatest share of its rows that one batch may delete."""


@dataclass(frozen=True)
class Relations:
    """What rows of a model refer to, and what refers to them."""

    references: Mapping[str, str] = field(default_factory=dict)
    """The models to whose keys columns refer, by column."""
    unknown: Mapping[str, Any] = field(default_factory=dict)
    """Values of a row that is inserted because another table refers to its key."""
    binds: tuple[Bind, ...] = ()
    """Columns that hold keys of versions of a dimension."""

    @property
    def dimensions(self) -> frozenset[str]:
        """Names of the models that rows refer to or are bound to."""
        return frozenset([*self.references.values(), *(bind.dimension for bind in self.binds)])


@dataclass(frozen=True)
class Derivation:
    """How the rows of a model are computed; empty for a stream."""

    columns: tuple[Column, ...] = ()
    """The columns that the function of the model gives and that are kept."""
    required: frozenset[str] = frozenset()
    """Columns besides the key that are never NULL."""
    roots: frozenset[str] = frozenset()
    """Names of the streams that the model is computed from and that are read as changes."""
    root_columns: tuple[str, ...] = ()
    """Columns that hold the key of the stream's row from which a row was made."""
    begins_whole: bool = False
    """Whether the first batch must hold all rows."""
    function_hash: str = ""
    """Hash of the function that computes the rows; '': not known."""


@dataclass(frozen=True)
class Joined:
    """A column whose values come from a relation that is joined to rows ``d$`` when they are inserted."""

    column: str
    """Name of the column."""
    value: str
    """The SQL expression of the value."""
    join: str
    """The SQL of the JOIN that gives the value."""


@dataclass(frozen=True)
class Target:
    """The table of a stream or model in the warehouse, and how batches are applied to it."""

    owner: Owner
    """The stream or model whose rows it holds."""
    table: Table
    """Its name, and the dialect of its warehouse."""
    keys: tuple[str, ...]
    """The columns that identify a row of the source."""
    load: LoadMode = field(default_factory=Merge)
    """How rows of a batch become rows of the table."""
    policies: Policies = field(default_factory=Policies)
    """What a load may do to the table."""
    relations: Relations = field(default_factory=Relations)
    """What rows of the table refer to, and what refers to them."""
    derivation: Derivation = field(default_factory=Derivation)
    """How rows are computed; empty for a stream."""
    cursor_column: str = ""
    """The column that says when a row was changed; '': there is none."""
    time_zone: str = ""
    """The time zone of timestamps that name none; '': UTC."""
    sorted_by: str = ""
    """The column by which the table is sorted; '': none."""
    distributed_by: str = ""
    """The column by which rows are distributed over nodes, as declared; '': none is declared."""
    find_mask: Callable[[str], Mask | None] = mask_nothing
    """Returns the mask of a field of the source."""
    apply_order: int = 0
    """Batches are applied to targets of a lower number first."""
    temporary: TemporaryTables = field(default_factory=TemporaryTables)
    """Names of the temporary tables of its load."""
    joins: tuple[Joined, ...] = ()
    """Columns that do not come with the rows, but from joined relations."""
    columns: TargetColumns | None = None
    """The columns that the table has now, as ``Catalog.look_up`` found them.

    None: there is no table, or it was not looked up.
    """

    @property
    def name(self) -> str:
        """``schema.table`` without quotes, for people."""
        return str(self.table)

    @property
    def quoted(self) -> str:
        """Quoted ``schema.table``."""
        return self.table.quoted

    @property
    def dialect(self) -> Dialect:
        """What the SQL of its warehouse is like."""
        return self.table.dialect

    @property
    def place(self) -> str:
        """How errors name the stream or model."""
        return self.owner.place

    @property
    def marks_deleted(self) -> bool:
        """Whether the table has the column that marks deleted rows.

        Policies and load modes may ask for that column before the table has it, and it stays when they do not ask any
        more.
        """
        return DELETED_AT in (self.columns or {})

    @property
    def leading(self) -> tuple[Column, ...]:
        """Added columns before the other columns."""
        return self.load.leading

    @property
    def trailing(self) -> tuple[Column, ...]:
        """Added columns after the other columns."""
        bound_columns = (Column(bind.column, bind.column, INT64) for bind in self.relations.binds)
        return (*bound_columns, *self.load.trailing(self.policies.deletes))

    @property
    def added_columns(self) -> frozenset[str]:
        """Names of the added columns that not every target has."""
        return frozenset(column.name for column in (*self.leading, *self.trailing))

    @property
    def consumed_columns(self) -> frozenset[str]:
        """Columns that a batch brings and the table does not keep.

        In a model this is the time that dates a version, which another column holds.
        """
        return frozenset(filter(None, [self.load.effective])) if self.owner.is_model else frozenset()

    @property
    def identifying_columns(self) -> tuple[str, ...]:
        """Columns that tell rows apart: the key and, in a table of versions, the columns that tell versions apart."""
        added = (*self.leading, *(self.load.trailing(self.policies.deletes) if self.load.keeps_versions else ()))
        return (*self.keys, *(column.name for column in added))

    @property
    def keeps_deleted(self) -> bool:
        """Whether deleted rows stay in the table, marked or unchanged."""
        return self.policies.deletes != "hard" or self.load.keeps_versions

    @property
    def tables_beside(self) -> tuple[Target, ...]:
        """Tables that the load mode keeps beside this one."""
        return tuple(
            replace(
                self,
                table=replace(self.table, name=f"{self.table.name}{suffix}"),
                load=load,
                relations=Relations(),
                derivation=replace(self.derivation, required=frozenset()),
                sorted_by="",
                distributed_by="",
                columns=None,
            )
            for suffix, load in self.load.beside.items()
        )

    def check_columns(self, columns: Sequence[Column]) -> None:
        """Raise ConfigurationError when rows lack a column that the load mode needs, or bring an added column."""
        kinds = {column.name: column.type.kind for column in columns}
        lacking = [name for name in self.load.asked if name not in kinds and name not in self.consumed_columns]
        problems = [f"has no column {name!r}, which the load mode asks for" for name in lacking]
        problems += [f"has a column {name!r}, as the load mode has" for name in self.added_columns if name in kinds]
        if kinds.get(self.load.effective, Kind.TIMESTAMP) not in TIME_KINDS:
            problems.append(f"has a column {self.load.effective!r} that is no date and no timestamp")
        if columns and problems:
            raise ConfigurationError(
                f"the source {'; '.join(problems)}", place=self.place, remedy="name other columns in the load mode"
            )
