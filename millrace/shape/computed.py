"""What a model's function gives: called, held against its schema, and in the types that lie in the lake.

A failure names the model, file and line, and never a value of a row.
What does not belong here: where its inputs come from and its rows go (transform.py).
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path

import dataframely as dy
import polars as pl

from millrace.errors import FatalError
from millrace.model import Model
from millrace.types import Column, Kind, polars_type

_TIME_OF_DAY = "%H:%M:%S%.6f"
_PLAN = "Resolved plan"
"""What Polars adds to the message of a schema error."""


def computed(model: Model, inputs: Mapping[str, pl.DataFrame], place: str) -> pl.DataFrame:
    """What the function gives, as its schema has it. Raises FatalError that names ``place``."""
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
        _, failure = model.schema.filter(rows)
    except dy.exc.SchemaError as error:
        difference = str(error).partition(_PLAN)[0].strip()
        raise FatalError(
            f"it gives other columns than its schema: {difference}",
            place=place,
            remedy=f"make names and types agree in the function and {model.schema.__name__}; after an update of "
            "Millrace see docs/upgrading.md",
        ) from None
    if len(failure):
        rules = ", ".join(f"{rule} by {broken}" for rule, broken in failure.counts().items())
        raise FatalError(f"its rows break its schema: {rules}", place=place, remedy="fix the model or its contract")
    return rows.select(model.schema.column_names())


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
