"""The declaration of a pipeline: ``from millrace import Pipeline, Stream, Incremental, Merge``.

Declarations are plain frozen values, checked when they are made: a wrong one fails at import and names the stream,
instead of failing at night.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar, TypeVar

from millrace.base.errors import ConfigurationError
from millrace.base.naming import check_name
from millrace.base.types import EXACT_NUMBERS
from millrace.base.zones import check_zone
from millrace.declaration.captures import Dated, LandingFormat
from millrace.declaration.checks import PositiveDuration, check_distinct, check_fields
from millrace.declaration.children import ChildModel, make_children
from millrace.declaration.declared_streams import DeclaredStreams
from millrace.declaration.model import Model
from millrace.declaration.roots import Roots
from millrace.declaration.schedule import check_cron
from millrace.declaration.source_kinds import CONNECTION
from millrace.declaration.stream import Stream
from millrace.declaration.streams import Streams

Member = TypeVar("Member", Stream, Model, Stream | Model)

RESERVED_SCHEMAS = frozenset({"millrace", "information_schema", "catalog_history"})
"""Schemas that no pipeline may write to: that of the ledger and those of the warehouse itself. A name that begins with
``pg_`` is reserved as well."""


@dataclass(frozen=True)
class Pipeline:
    """Streams and models that run together on one schedule."""

    name: str
    """Name of the pipeline, and by default of its schemas in the warehouse."""
    streams: DeclaredStreams = DeclaredStreams()  # noqa: RUF009 - a descriptor is no default: the field is required
    """The tables, collections and queues that are replicated: ``Stream`` for one, ``Streams`` for all that a pattern
    names."""
    schedule: str = ""
    """When the pipeline runs: a cron expression (UTC); '' means on demand only."""
    schema: str = ""
    """Schema of the warehouse for the targets of streams; '' means the pipeline's name."""
    models: Sequence[Model] = ()
    """Tables that are computed from the streams, in ``model_schema``; a model stands after its inputs."""
    model_schema: str = ""
    """Schema of the warehouse for models; '' means the pipeline's name."""
    landing: LandingFormat = "parquet"
    """Format of batches in the landing zone."""
    fresh_within: PositiveDuration | None = None
    """The greatest age that a change may have when it becomes visible in the warehouse; None: no objective."""
    views: str = ""
    """A SQL file of views for analysts: a path below sql/, or an absolute one."""
    warehouse: str = ""
    """Connection of the warehouse (WAREHOUSE_<NAME>_URL); '' means the common one (WAREHOUSE_URL)."""
    dated: Dated | None = None
    """How the date of a read is determined, for sources that show the state of one date; None: they do not."""
    stamps_in: str = ""
    """Time zone of timestamps that name none, for streams that declare none themselves; '' means UTC."""
    visit_every: PositiveDuration = timedelta(days=1)
    """How long no run looks into the warehouse if there is nothing to load and leases are kept in the lake
    (WAREHOUSE_LEASES): within this time a target that was dropped by hand is noticed."""
    load_every: PositiveDuration | None = None
    """How long batches may wait in the lake to be loaded together, so that the warehouse wakes less often; None: each
    run loads what it read. Leases must be kept in the lake."""
    wildcards: Sequence[Streams] = ()
    """The ``Streams`` among ``streams``: their tables are found at each run. Declare them there."""
    _path: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self._set_wildcards_apart()
        check_fields(self, f"pipeline {self.name}")
        check_name(self.name, "pipeline")
        if not self.streams and not self.wildcards:
            raise ConfigurationError(
                "it has no streams", place=f"pipeline {self.name}", remedy="declare what it replicates"
            )
        if self.stamps_in:
            check_zone(self.stamps_in, f"pipeline {self.name}: stamps_in")
            streams = [replace(stream, stamps_in=stream.stamps_in or self.stamps_in) for stream in self.streams]
            object.__setattr__(self, "streams", streams)
        children = [child for stream in self.streams for child in make_children(stream)]
        object.__setattr__(
            self, "models", [*children, *(model for model in self.models if not isinstance(model, ChildModel))]
        )
        for schema in (self.target_schema, self.target_model_schema):
            check_name(schema, f"pipeline {self.name}: schema")
            self._refuse_reserved(schema)
        try:
            check_cron(self.schedule)
        except ConfigurationError as error:
            raise ConfigurationError(error.problem, place=f"pipeline {self.name}", remedy=error.remedy) from error
        if self.warehouse and not re.fullmatch(CONNECTION, self.warehouse):
            raise ConfigurationError(
                f"warehouse {self.warehouse!r} is not the name of a connection",
                place=f"pipeline {self.name}",
                remedy="use lower-case letters, digits and hyphens",
            )
        self._check_load_every()
        tables = [f"{self.target_schema}.{stream.table}" for stream in self.streams]
        tables += [f"{self.target_model_schema}.{model.name}" for model in self.models]
        check_distinct((member.name for member in self.members), "name", f"pipeline {self.name}")
        check_distinct(tables, "table", f"pipeline {self.name}")
        check_distinct(map(str, self.wildcards), "pattern", f"pipeline {self.name}")
        for model in self.models:
            if not self.wildcards or self.roots.has_all_inputs(model):
                self.roots.check(model)
            self._check_references(model)
            self._check_binds(model)
            self._check_time_zones(model)

    def _set_wildcards_apart(self) -> None:
        declared: Sequence[Stream | Streams] = self.streams
        if isinstance(declared, Sequence) and any(isinstance(one, Streams) for one in declared):
            wildcards = [one for one in declared if isinstance(one, Streams)]
            object.__setattr__(self, "wildcards", (*self.wildcards, *wildcards))
            object.__setattr__(self, "streams", [one for one in declared if not isinstance(one, Streams)])

    def with_path(self, path: str) -> Pipeline:
        """Return this pipeline as one that commands name by the path of its file."""
        pipeline = copy(self)
        object.__setattr__(pipeline, "_path", path)
        return pipeline

    def with_models(self, models: Sequence[Model]) -> Pipeline:
        """Return this pipeline with other values of the same models."""
        pipeline = copy(self)
        object.__setattr__(pipeline, "models", list(models))
        return pipeline

    def with_found(self, streams: Sequence[Stream]) -> Pipeline:
        """Return this pipeline with the streams that its wildcards stand for.

        Raises ConfigurationError when a model cannot be computed from them.
        """
        found = replace(self, streams=[*self.streams, *streams], wildcards=())
        return found.with_path(self._path)

    @property
    def path(self) -> str:
        """The file or module by which it was found (``shop.py:pipeline``); '': it ships, or a program gave it."""
        return self._path

    @property
    def cli_name(self) -> str:
        """How commands name this pipeline: by its name, or by the path of its file."""
        return shlex.quote(self._path) if self._path else self.name

    @property
    def target_schema(self) -> str:
        """Schema of the warehouse for the targets of streams."""
        return self.schema or self.name

    @property
    def target_model_schema(self) -> str:
        """Schema of the warehouse for models."""
        return self.model_schema or self.name

    @property
    def is_transformed(self) -> bool:
        """Whether batches go through the processed zone and all batches of a run are committed together."""
        return bool(self.models) or self.landing != "parquet"

    def choose_streams(self, names: Sequence[str]) -> list[Stream]:
        """Return the streams of these names, each once; without names every stream that is enabled.

        Raises ConfigurationError for a stream that does not exist or is not enabled, and when none is enabled.
        """
        chosen = [self.stream(name) for name in dict.fromkeys(names)]
        for stream in chosen:
            if not stream.enabled:
                raise ConfigurationError(
                    "it is not enabled", place=f"stream {self.name}.{stream.name}", remedy="take out enabled=False"
                )
        chosen = chosen or [stream for stream in self.streams if stream.enabled]
        if not chosen and self.wildcards:
            raise ConfigurationError(
                "it has only wildcards, and a run alone finds their tables",
                place=f"pipeline {self.name}",
                remedy="declare a Stream for what is asked for",
            )
        if not chosen:
            raise ConfigurationError(
                "none of its streams is enabled", place=f"pipeline {self.name}", remedy="take out an enabled=False"
            )
        return chosen

    def stream(self, name: str) -> Stream:
        """Return the stream of that name. Raises ConfigurationError if there is none."""
        return self._find_member(self.streams, "stream", name)

    def model(self, name: str) -> Model:
        """Return the model of that name. Raises ConfigurationError if there is none."""
        return self._find_member(self.models, "model", name)

    def find(self, name: str) -> Stream | Model:
        """Return the stream or model of that name. Raises ConfigurationError if there is none."""
        return self._find_member(self.members, "stream or model", name)

    def _find_member(self, members: Sequence[Member], kind: str, name: str) -> Member:
        for member in members:
            if member.name == name:
                return member
        choices = ", ".join(member.name for member in members)
        remedy = f"choose from {choices}" if choices else f"the pipeline has no {kind}"
        unknown = "; a run alone finds the streams of wildcards" if self.wildcards else ""
        raise ConfigurationError(f"there is no {kind} {name!r}", place=f"pipeline {self.name}", remedy=remedy + unknown)

    @property
    def members(self) -> list[Stream | Model]:
        """All streams, then all models."""
        return [*self.streams, *self.models]

    @property
    def roots(self) -> Roots:
        """The streams that each model is computed from."""
        return Roots(self.streams, self.models, f"pipeline {self.name}")

    def _check_load_every(self) -> None:
        if self.load_every is None:
            return
        if self.is_transformed:
            raise ConfigurationError(
                "load_every gathers batches of single streams, and its tables are committed together",
                place=f"pipeline {self.name}",
                remedy="take out load_every, or declare streams without models in a pipeline of their own",
            )
        if self.fresh_within is not None and self.fresh_within <= self.load_every:
            raise ConfigurationError(
                "its batches wait longer (load_every) than changes may take to become visible (fresh_within)",
                place=f"pipeline {self.name}",
                remedy="declare a shorter load_every",
            )

    def _refuse_reserved(self, schema: str) -> None:
        if schema in RESERVED_SCHEMAS or schema.startswith("pg_"):
            raise ConfigurationError(
                f"schema {schema!r} is reserved for Millrace or for the warehouse itself",
                place=f"pipeline {self.name}",
                remedy="declare schema= and model_schema= with other names",
            )

    def _check_references(self, model: Model) -> None:
        for name in model.references.values():
            dimension = next((other for other in self.models if other.name == name), None)
            if dimension is None:
                raise ConfigurationError(
                    f"it refers to a model {name!r}, which does not exist",
                    place=f"pipeline {self.name}, model {model.name}",
                    remedy=f"choose from {', '.join(other.name for other in self.models)}",
                )
            dimension.check_can_be_referenced()
        for column, name in model.references.items():
            self._check_types(model, name, {column: self.model(name).keys[0]})

    def _check_binds(self, model: Model) -> None:
        place = f"pipeline {self.name}, model {model.name}"
        for bind in model.binds:
            dimension = next((other for other in self.models if other.name == bind.dimension), None)
            if dimension is None or dimension.load.validity is None:
                raise ConfigurationError(
                    f"it binds to {bind.dimension!r}, which is not a model that keeps versions",
                    place=place,
                    remedy="declare that model with load=Scd2(...)",
                )
            if len(bind.keys) != len(dimension.keys):
                raise ConfigurationError(
                    f"{bind.column!r} is bound by {', '.join(bind.keys)}, and the key of {bind.dimension} is "
                    f"{', '.join(dimension.keys)}",
                    place=place,
                    remedy="name one column for each column of that key",
                )
            self._check_types(model, bind.dimension, dict(zip(bind.keys, dimension.keys, strict=True)))

    def _check_types(self, model: Model, name: str, keys: Mapping[str, str]) -> None:
        """Check columns of a model against the key of another one: a warehouse compares only equal types.

        ``keys`` maps columns of ``model`` to columns of the key of the model ``name``.
        """
        kinds = {column.name: column.type.kind for column in model.columns}
        key_kinds = {column.name: column.type.kind for column in self.model(name).columns}
        for column, key in keys.items():
            if kinds[column] != key_kinds[key] and not {kinds[column], key_kinds[key]} <= EXACT_NUMBERS:
                raise ConfigurationError(
                    f"its column {column} is {kinds[column]}, and {key}, the key of {name}, is {key_kinds[key]}",
                    place=f"pipeline {self.name}, model {model.name}",
                    remedy="declare the same type in both schemas",
                )

    def _check_time_zones(self, model: Model) -> None:
        zones = self._zones_of(model)
        if len(zones) > 1 and (model.load.effective or model.binds):
            raise ConfigurationError(
                f"its streams have timestamps in several time zones ({', '.join(zones)})",
                place=f"pipeline {self.name}, model {model.name}",
                remedy="declare one stamps_in for them, or compute the model from streams of one zone",
            )

    def time_zone_of(self, model: Model) -> str:
        """Return the time zone of a model's timestamps that name none: that of the streams it is computed from."""
        return "".join(self._zones_of(model)[:1])

    def _zones_of(self, model: Model) -> list[str]:
        """Return the time zones of a model's streams, if one is declared; a stream without one is in UTC."""
        roots = self.roots.of(model)
        zones = {stream.stamps_in for stream in self.streams if stream.name in roots}
        return sorted({zone or "UTC" for zone in zones}) if any(zones) else []
