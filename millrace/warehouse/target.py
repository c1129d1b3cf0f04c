"""A table of the warehouse that batches are applied to, whether a stream's or a model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from millrace.base.errors import ConfigurationError
from millrace.base.naming import column_name, quote
from millrace.base.types import INT64, TIME_KINDS, Column, Kind
from millrace.declaration.captures import Bind, DeletePolicy, Reconcile, SchemaPolicy, follows_deletes
from millrace.declaration.load_modes import LoadMode, Merge
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.warehouse.dialect import Dialect


@dataclass(frozen=True)
class Joined:
    """A column whose values come, as rows ``d$`` are put in, from what is joined to them."""

    column: str
    value: str
    join: str


@dataclass(frozen=True)
class Target:
    """``member`` is the stream or model that fills the table; ``columns`` are a model's; ``required`` ones are never
    NULL, as the key is not; ``stamp`` is the column that says when a row was changed ('': none). ``references`` maps
    columns to the models whose key they hold, ``unknown`` gives the values of a row of which only the key is known;
    ``binds`` are columns that hold keys of versions. ``consumed`` columns of a batch are not kept.
    The table is sorted by ``sorted_by``. ``number`` tells apart the temporary tables of targets that are loaded
    together. ``marks_deleted``: the table has the column that marks deleted rows. ``stamps_in`` is the time zone of
    times that say none ('': UTC). ``root_columns`` hold the key of the stream that a model's row was made of; ``roots``
    are its streams that change. ``begins_whole``: its first batch must hold all rows there are. ``function`` is a hash
    of the one that computes them.
    ``max_delete_share`` is the share of its rows that one batch may delete. ``cli_name`` is how a command names the
    pipeline. ``joins`` give columns that rows do not bring."""

    pipeline: str
    member: str
    place: str
    schema: str
    table: str
    keys: tuple[str, ...]
    dialect: Dialect
    load: LoadMode = field(default_factory=Merge)
    deletes: DeletePolicy = "hard"
    schema_policy: SchemaPolicy = "evolve"
    columns: tuple[Column, ...] = ()
    required: frozenset[str] = frozenset()
    stamp: str = ""
    reconcile: Reconcile | None = None
    references: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, Any] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    consumed: frozenset[str] = frozenset()
    sorted_by: str = ""
    rank: int = 0
    number: int = 0
    marks_deleted: bool = False
    stamps_in: str = ""
    max_delete_share: float = 1.0
    cli_name: str = ""
    joins: tuple[Joined, ...] = ()
    is_model: bool = False
    root_columns: tuple[str, ...] = ()
    begins_whole: bool = False
    roots: frozenset[str] = frozenset()
    function: str = ""

    @property
    def name(self) -> str:
        """``schema.table``, for people."""
        return f"{self.schema}.{self.table}"

    @property
    def quoted(self) -> str:
        """For SQL."""
        return quote(self.schema, self.table)

    @property
    def leading(self) -> tuple[Column, ...]:
        """Columns of our own that stand before the others."""
        return self.load.leading

    @property
    def trailing(self) -> tuple[Column, ...]:
        """Columns of our own that stand behind the others."""
        bound = (Column(bind.column, bind.column, INT64) for bind in self.binds)
        return (*bound, *self.load.trailing(self.deletes))

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns without which its rows are not told apart: the key, and those that tell versions."""
        own = (*self.leading, *(self.load.trailing(self.deletes) if self.load.keeps_versions else ()))
        return (*self.keys, *(column.name for column in own))

    @property
    def keeps_deleted(self) -> bool:
        """Rows that left the source stay in the table, marked or as they were."""
        return self.deletes != "hard" or self.load.keeps_versions

    @property
    def dimensions(self) -> frozenset[str]:
        """The models that its rows refer or are bound to."""
        return frozenset([*self.references.values(), *(bind.dimension for bind in self.binds)])

    @property
    def beside(self) -> tuple[Target, ...]:
        """Tables that the load mode keeps beside this one."""
        return tuple(
            replace(self, table=f"{self.table}{suffix}", load=load, required=frozenset(), binds=(), references={})
            for suffix, load in self.load.beside.items()
        )

    @property
    def own(self) -> frozenset[str]:
        """Names of all columns of our own."""
        return frozenset(column.name for column in (*self.leading, *self.trailing))

    def check_columns(self, columns: Sequence[Column]) -> None:
        """Raises ConfigurationError when rows lack what the load mode asks for, or bring a column of our own."""
        kinds = {column.name: column.type.kind for column in columns}
        lacking = [name for name in self.load.asked if name not in kinds and name not in self.consumed]
        problems = [f"has no column {name!r}, which the load mode asks for" for name in lacking]
        problems += [f"has a column {name!r}, as the load mode has" for name in self.own if name in kinds]
        if kinds.get(self.load.effective, Kind.TIMESTAMP) not in TIME_KINDS:
            problems.append(f"has a column {self.load.effective!r} that is no date and no timestamp")
        if columns and problems:
            raise ConfigurationError(
                f"the source {'; '.join(problems)}", place=self.place, remedy="name other columns in the load mode"
            )

    @property
    def stage(self) -> str:
        """Temporary table of the rows that arrived; the others likewise."""
        return self._temporary("millrace_stage")

    @property
    def delta(self) -> str:
        """Of the rows that differ from the table."""
        return self._temporary("millrace_delta")

    @property
    def gone(self) -> str:
        """Of the keys that left the source."""
        return self._temporary("millrace_deletes")

    @property
    def left(self) -> str:
        """Of the keys of its root whose rows may have left."""
        return self._temporary("millrace_left")

    @property
    def touched(self) -> str:
        """Of the keys whose versions changed, and since when."""
        return self._temporary("millrace_touched")

    @property
    def moved(self) -> str:
        """Of the versions that start at another time than they said."""
        return self._temporary("millrace_moved")

    @property
    def concerned(self) -> str:
        """Of the keys whose versions are computed again."""
        return self._temporary("millrace_concerned")

    @property
    def arrived(self) -> str:
        """Of the events that arrived."""
        return self._temporary("millrace_arrived")

    @property
    def computed(self) -> str:
        """Of the versions that were computed."""
        return self._temporary("millrace_computed")

    @property
    def vanished(self) -> str:
        """Of the versions that are none any more."""
        return self._temporary("millrace_vanished")

    @property
    def bound(self) -> str:
        """Of the rows that are to be bound to another version."""
        return self._temporary("millrace_bound")

    @property
    def sample(self) -> str:
        """Of keys and hashes that the table is compared with."""
        return self._temporary("millrace_sample")

    def _temporary(self, name: str) -> str:
        return f"{name}_{self.number}" if self.number else name


def target_of(pipeline: Pipeline, member: Stream | Model, dialect: Dialect, number: int = 0) -> Target:
    """The target of a stream or model. An unknown delete policy raises AssertionError, whatever the load mode is."""
    follows_deletes(member.deletes)
    if isinstance(member, Model):
        return _of_model(pipeline, member, dialect, number)
    return _of_stream(pipeline, member, dialect, number)


def _of_stream(pipeline: Pipeline, stream: Stream, dialect: Dialect, number: int) -> Target:
    return Target(
        pipeline=pipeline.name,
        member=stream.name,
        place=f"stream {pipeline.name}.{stream.name} ({stream.source})",
        schema=pipeline.target_schema,
        table=stream.table,
        keys=tuple(column_name(key) for key in stream.keys),
        dialect=dialect,
        load=stream.load,
        deletes=stream.load.deletes(stream.deletes),
        schema_policy=stream.schema_policy,
        stamp=column_name(stream.capture.stamp) if stream.capture.stamp else "",
        reconcile=stream.reconcile,
        max_delete_share=stream.max_delete_share,
        sorted_by=stream.sorted_by,
        rank=2,
        number=number,
        stamps_in=stream.stamps_in,
        cli_name=pipeline.cli_name,
    )


def _of_model(pipeline: Pipeline, model: Model, dialect: Dialect, number: int) -> Target:
    """Dimensions come before facts, and both before the streams."""
    return Target(
        pipeline=pipeline.name,
        member=model.name,
        place=f"model {pipeline.name}.{model.name}",
        schema=pipeline.target_model_schema,
        table=model.name,
        keys=model.keys,
        dialect=dialect,
        load=model.load,
        deletes=model.load.deletes(model.deletes),
        columns=tuple(column for column in model.columns if column.name != model.load.effective),
        required=model.required - {model.load.effective},
        references=model.references,
        unknown=model.unknown,
        binds=tuple(model.binds),
        max_delete_share=model.max_delete_share,
        is_model=True,
        root_columns=tuple(pipeline.roots.key_columns(model)),
        roots=frozenset(one.name for one in pipeline.roots.changing(model)),
        function=model.function_hash,
        begins_whole=all(root.capture.keeps_rows for root in pipeline.roots.changing(model)),
        consumed=frozenset(filter(None, [model.load.effective])),
        sorted_by=model.binds[0].at if model.binds else model.keys[0] if model.load.keeps_versions else "",
        rank=1 if model.references or model.binds else 0,
        number=number,
        stamps_in=pipeline.time_zone_of(model),
        cli_name=pipeline.cli_name,
    )
