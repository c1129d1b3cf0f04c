"""What a catalog says of a table or collection: from this `millrace init` proposes a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from millrace.base.types import DataType

FoundKind = Literal["table", "view", "materialized view", "collection"]
"""What a stream may replicate."""


@dataclass(frozen=True)
class FoundColumn:
    """A column, or a field of the sampled documents at the first level."""

    name: str
    """The name in the source."""
    type_name: str
    """The type in the words of the source; of a field all types that were met."""
    type: DataType | None
    """The type in the warehouse; None: there is none."""
    can_be_text: bool = False
    """Whether a column without a type in the warehouse may be declared as text."""
    is_set_by_updates: bool = False
    """Whether the server itself sets it when a row changes."""
    is_set_by_inserts: bool = False
    """Whether the server sets it when a row is inserted and nobody gives a value."""
    is_growing: bool = False
    """Whether the server gives it a number that grows with every insert."""
    has_documents: bool = False
    """Whether its arrays hold documents and nothing else."""
    fields: int = 0
    """Number of different names of fields within the documents of this field."""


@dataclass(frozen=True)
class FoundTable:
    """A table, a view or a collection."""

    schema: str
    """The schema or database."""
    name: str
    """The name in the source."""
    kind: FoundKind
    """What it is."""
    columns: tuple[FoundColumn, ...]
    """Its columns, in order."""
    primary_key: tuple[str, ...] = ()
    """The columns of the primary key; (): there is none."""
    unique_keys: tuple[tuple[str, ...], ...] = ()
    """The columns of other unique keys whose columns are never NULL, in the order of their names."""
    rows: int = 0
    """About how many rows it has, as the statistics of the server say."""
    size_bytes: int = 0
    """About how large it is, with indexes."""
    update_triggers: tuple[str, ...] = ()
    """Names of triggers that may set columns when a row is updated."""
    is_readable: bool = True
    """Whether the user of the connection may read it."""
    is_populated: bool = True
    """Whether a materialized view has been filled."""
