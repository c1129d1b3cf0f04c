"""What a model's function gives, checked against the model's schema and cast to the types of the lake.

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
from millrace.contract.rules import reject_by_rules
from millrace.declaration.model import Model

_TIME_OF_DAY = "%H:%M:%S%.6f"
_PLAN = "Resolved plan"
"""What Polars adds to the message of a schema error."""


@dataclass(frozen=True)
class ModelRows:
    """What a model's function gave."""

    rows: pl.DataFrame
    """Rows that meet the model's schema."""
    rejects: pl.DataFrame
    """The other rows as rejects (REJECT_SCHEMA)."""
    rejected_rows: pl.DataFrame
    """The other rows as the function gave them."""


def compute(model: Model, inputs: Mapping[str, pl.DataFrame], place: str, located_by: Mapping[str, str]) -> ModelRows:
    """Call a model's function and check its rows.

    ``located_by`` names the columns that locate a rejected row, each with the name that it has in the rejects. Raises
    FatalError that names ``place``.
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
    computed = rows.select(model.schema.column_names())
    rows, rejects = reject_by_rules(computed, computed, model.schema, list(located_by))
    rejected = (
        computed.join(rows, on=computed.columns, how="anti", nulls_equal=True) if rejects.height else computed.head(0)
    )
    return ModelRows(rows, rename_locations(rejects, located_by), rejected)


def rename_locations(rejects: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    """Return rejects that name the columns of their locations differently: as ``names`` says.

    Rejects of a model are located by columns of the model, but a replay finds their rows by the key of the root.
    """
    given = [orjson.loads(text) for text in rejects["coordinates"]]
    renamed = [orjson.dumps({names[name]: value for name, value in location.items()}).decode() for location in given]
    return rejects.with_columns(pl.Series("coordinates", renamed, pl.String))


def _raised_at(error: Exception, model: Model) -> str:
    """Return file and line, in the file of the model rather than in the libraries that it calls."""
    frames = traceback.extract_tb(error.__traceback__)
    model_frames = [frame for frame in frames if frame.filename == model.function.__code__.co_filename]
    last = [*frames, *model_frames][-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def cast_for_lake(frame: pl.DataFrame, column: Column) -> pl.Expr:
    """Return an expression: a column of the frame in the type that it has in the lake."""
    value = pl.col(column.name)
    if column.type.kind is Kind.TIME and frame.schema[column.name] == pl.Time:
        return value.dt.strftime(_TIME_OF_DAY)
    return value.cast(polars_type(column.type))
