"""What a model's function gives: called, held against its schema, and in the types that lie in the lake.

A failure names the model, file and line, and never a value of a row.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dataframely as dy
import orjson
import polars as pl

from millrace.base.errors import FatalError
from millrace.base.types import Column, Kind, polars_type
from millrace.contract.check import by_rules
from millrace.declaration.model import Model

_TIME_OF_DAY = "%H:%M:%S%.6f"
_PLAN = "Resolved plan"
"""What Polars adds to the message of a schema error."""


@dataclass(frozen=True)
class Computed:
    """What a function gave: the rows that meet the model's schema, and the others as rejects, and as they are."""

    rows: pl.DataFrame
    rejects: pl.DataFrame
    rejected: pl.DataFrame


def compute(model: Model, inputs: Mapping[str, pl.DataFrame], place: str, known_by: Mapping[str, str]) -> Computed:
    """Call the function. A rejected row is ``known_by`` these columns, under the names they are given there.

    Raises FatalError that names ``place``.
    """
    try:
        rows: object = model.function(**inputs)
    # It is somebody's function: whatever it raises, its message may hold a value, and its place tells enough.
    except Exception as error:
        raise FatalError(
            f"it raised {type(error).__name__} at {_raised_at(error, model)}",
            place=place,
            remedy="call the function with frames like the stream's; nothing was loaded",
        ) from None
    if not isinstance(rows, pl.DataFrame):
        raise FatalError(f"it gives a {type(rows).__name__}", place=place, remedy="give a polars.DataFrame")
    try:
        model.schema.filter(rows.head(0))
    except dy.exc.SchemaError as error:
        difference = str(error).partition(_PLAN)[0].strip()
        raise FatalError(
            f"it gives other columns than its schema: {difference}",
            place=place,
            remedy=f"make names and types agree in the function and {model.schema.__name__}; after an update of "
            "Millrace see docs/upgrading.md",
        ) from None
    own = rows.select(model.schema.column_names())
    rows, rejects = by_rules(own, own, model.schema, list(known_by))
    rejected = own.join(rows, on=own.columns, how="anti", nulls_equal=True) if rejects.height else own.head(0)
    return Computed(rows, as_known_by(rejects, known_by), rejected)


def as_known_by(rejects: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    """Rejects whose coordinates are columns of the model, with these names for them: those of the root's key."""
    given = [orjson.loads(text) for text in rejects["coordinates"]]
    renamed = [orjson.dumps({names[name]: value for name, value in one.items()}).decode() for one in given]
    return rejects.with_columns(pl.Series("coordinates", renamed, pl.String))


def _raised_at(error: Exception, model: Model) -> str:
    """File and line, in the file of the model rather than in the libraries that it calls."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == model.function.__code__.co_filename]
    last = [*frames, *own][-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def stored(frame: pl.DataFrame, column: Column) -> pl.Expr:
    """A column in the type that lies in the lake."""
    value = pl.col(column.name)
    if column.type.kind is Kind.TIME and frame.schema[column.name] == pl.Time:
        return value.dt.strftime(_TIME_OF_DAY)
    return value.cast(polars_type(column.type))
