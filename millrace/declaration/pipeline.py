"""The declaration: what is replicated, said once. ``from millrace import Pipeline, Stream, Incremental, Merge``.

Declarations are plain frozen values, checked when they are made, so that a wrong one fails at import with the
name of the stream and not at night.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from millrace.base.errors import ConfigurationError
from millrace.base.naming import check_name
from millrace.base.types import EXACT_NUMBERS
from millrace.base.zones import check_zone
from millrace.declaration.captures import Dated, LandingFormat
from millrace.declaration.checks import PositiveDuration, check_distinct, check_fields
from millrace.declaration.load_modes import Scd2
from millrace.declaration.model import Model
from millrace.declaration.roots import Roots
from millrace.declaration.schedule import check_cron
from millrace.declaration.source_kinds import CONNECTION
from millrace.declaration.stream import Stream

Member = TypeVar("Member", Stream, Model, Stream | Model)

RESERVED_SCHEMAS = frozenset({"millrace", "information_schema", "catalog_history"})
"""Where no pipeline may write: the ledger's schema, and the warehouse's own beside those that begin with ``pg_``."""


@dataclass(frozen=True)
class Pipeline:
    """Streams that run together on one schedule, into one schema of the warehouse (by default the pipeline's name).

    ``models`` are tables derived from them, in ``model_schema`` (by default the pipeline's name); a model stands after
    its inputs. ``landing`` is the format of batches in the landing zone. ``fresh_within`` is the age that a change may
    have when it becomes visible; None: no objective. ``views`` is a file of views for analysts, below sql/ or absolute.
    ``warehouse`` is the warehouse's connection, if it is not the common one; ``dated`` says which date a read is of.
    ``stamps_in`` is that of all streams that declare none themselves.
    """

    name: str
    streams: Sequence[Stream]
    schedule: str = ""
    schema: str = ""
    models: Sequence[Model] = ()
    model_schema: str = ""
    landing: LandingFormat = "parquet"
    fresh_within: PositiveDuration | None = None
    views: str = ""
    warehouse: str = ""
    dated: Dated | None = None
    stamps_in: str = ""
    _path: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_fields(self, f"pipeline {self.name}")
        check_name(self.name, "pipeline")
        if not self.streams:
            raise ConfigurationError(
                "it has no streams", place=f"pipeline {self.name}", remedy="declare what it replicates"
            )
        if self.stamps_in:
            check_zone(self.stamps_in, f"pipeline {self.name}: stamps_in")
            streams = [replace(stream, stamps_in=stream.stamps_in or self.stamps_in) for stream in self.streams]
            object.__setattr__(self, "streams", streams)
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
        own = [f"{self.target_schema}.{stream.table}" for stream in self.streams]
        own += [f"{self.target_model_schema}.{model.name}" for model in self.models]
        check_distinct((one.name for one in self.members), "name", f"pipeline {self.name}")
        check_distinct(own, "table", f"pipeline {self.name}")
        for model in self.models:
            self.roots.check(model)
            self._check_references(model)
            self._check_binds(model)
            self._check_stamps(model)

    def with_path(self, path: str) -> Pipeline:
        """The same, which commands name by this path of its file."""
        pipeline = copy(self)
        object.__setattr__(pipeline, "_path", shlex.quote(path))
        return pipeline

    @property
    def cli_name(self) -> str:
        """How a command names it: by its name, or by the path of its file."""
        return self._path or self.name

    @property
    def target_schema(self) -> str:
        """Schema of the warehouse that holds the streams' targets."""
        return self.schema or self.name

    @property
    def target_model_schema(self) -> str:
        """Schema of the warehouse that holds the models."""
        return self.model_schema or self.name

    @property
    def is_transformed(self) -> bool:
        """Batches go through the processed zone, and all of a run are committed together."""
        return bool(self.models) or self.landing != "parquet"

    def stream(self, name: str) -> Stream:
        """The stream of that name. Raises ConfigurationError when there is none."""
        return self._named(self.streams, "stream", name)

    def model(self, name: str) -> Model:
        """The model of that name. Raises ConfigurationError when there is none."""
        return self._named(self.models, "model", name)

    def find(self, name: str) -> Stream | Model:
        """The stream or model of that name. Raises ConfigurationError when there is none."""
        return self._named(self.members, "stream or model", name)

    def _named(self, members: Sequence[Member], kind: str, name: str) -> Member:
        for member in members:
            if member.name == name:
                return member
        known = ", ".join(member.name for member in members)
        raise ConfigurationError(
            f"there is no {kind} {name!r}",
            place=f"pipeline {self.name}",
            remedy=f"choose from {known}" if known else f"the pipeline has no {kind}",
        )

    @property
    def members(self) -> list[Stream | Model]:
        """Streams, then models."""
        return [*self.streams, *self.models]

    @property
    def roots(self) -> Roots:
        """The streams that each model is computed from."""
        return Roots(self.streams, self.models, f"pipeline {self.name}")

    def _refuse_reserved(self, schema: str) -> None:
        if schema in RESERVED_SCHEMAS or schema.startswith("pg_"):
            raise ConfigurationError(
                f"schema {schema!r} holds tables of this program or of the warehouse itself",
                place=f"pipeline {self.name}",
                remedy="declare schema= and model_schema= with other names",
            )

    def _check_references(self, model: Model) -> None:
        for name in model.references.values():
            dimension = next((one for one in self.models if one.name == name), None)
            if dimension is None:
                raise ConfigurationError(
                    f"it refers to a model {name!r} that is not there",
                    place=f"pipeline {self.name}, model {model.name}",
                    remedy=f"choose from {', '.join(one.name for one in self.models)}",
                )
            dimension.check_can_be_referenced()
        for column, name in model.references.items():
            dimension = next(one for one in self.models if one.name == name)
            self._check_types(model, name, {column: dimension.keys[0]})

    def _check_binds(self, model: Model) -> None:
        place = f"pipeline {self.name}, model {model.name}"
        for bind in model.binds:
            dimension = next((one for one in self.models if one.name == bind.dimension), None)
            if dimension is None or not isinstance(dimension.load, Scd2):
                raise ConfigurationError(
                    f"it binds to {bind.dimension!r}, which is no model that keeps versions",
                    place=place,
                    remedy="declare that model with load=Scd2(...)",
                )
            if len(bind.keys) != len(dimension.keys):
                raise ConfigurationError(
                    f"{bind.column!r} is bound by {', '.join(bind.keys)}, and the key of {bind.dimension} is "
                    f"{', '.join(dimension.keys)}",
                    place=place,
                    remedy="name a column for each of the key's",
                )
            self._check_types(model, bind.dimension, dict(zip(bind.keys, dimension.keys, strict=True)))

    def _check_types(self, model: Model, name: str, keys: Mapping[str, str]) -> None:
        """Columns of a model are compared with the key of another one, which a warehouse does not do across types."""
        dimension = next(one for one in self.models if one.name == name)
        kinds, others = ({column.name: column.type.kind for column in one.columns} for one in (model, dimension))
        for own, key in keys.items():
            if kinds[own] != others[key] and not {kinds[own], others[key]} <= EXACT_NUMBERS:
                raise ConfigurationError(
                    f"its column {own} is {kinds[own]}, and {key}, the key of {name}, is {others[key]}",
                    place=f"pipeline {self.name}, model {model.name}",
                    remedy="give both the same type in their schemas",
                )

    def _check_stamps(self, model: Model) -> None:
        zones = self._zones_of(model)
        if len(zones) > 1 and (model.load.effective or model.binds):
            raise ConfigurationError(
                f"its times are of streams whose stamps are in several zones ({', '.join(zones)})",
                place=f"pipeline {self.name}, model {model.name}",
                remedy="declare one stamps_in for them, or compute the model from streams of one zone",
            )

    def time_zone_of(self, model: Model) -> str:
        """The time zone of a model's times that say none: that of the streams that it is computed from."""
        return "".join(self._zones_of(model)[:1])

    def _zones_of(self, model: Model) -> list[str]:
        """An undeclared one is UTC."""
        zones = {one.stamps_in for one in self.streams if one.name in self.roots.of(model)}
        return sorted({zone or "UTC" for zone in zones}) if any(zones) else []
