"""The kinds of sources: how a stream names one, and what it can give.

A new kind of source begins with a value here (docs/extending.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

from millrace.base.errors import ConfigurationError

CONNECTION = r"[a-z0-9-]+"
"""The pattern of the name of a connection."""
_REFERENCE = re.compile(rf"(?P<kind>[a-z]+)(/(?P<connection>{CONNECTION}))?(:(?P<schema>[^.]+)\.(?P<name>.+))?")


@dataclass(frozen=True)
class SourceKind:
    """A kind of source: what the engine must know about it before a connection is opened."""

    name: str
    """The name in the source of a stream: ``postgres`` in ``postgres:public.notes``."""
    title: str
    """The name that its users know."""
    unit: Literal["table", "collection", "queue"]
    """What one stream replicates."""
    is_of_documents: bool = False
    """Whether rows have fields, some of which may be missing, and no columns that the source knows."""
    has_snapshot: bool = True
    """Whether a read shows one consistent state of the source."""
    has_change_log: bool = False
    """Whether its change log can be read."""
    has_log_per_schema: bool = False
    """Whether each schema or database of a connection has a change log of its own, with its own positions."""
    document_key: str = ""
    """The field by which the source itself identifies a row, whatever key a stream declares; '': there is none."""

    @property
    def is_queue(self) -> bool:
        """Whether consumers collect the rows before a run reads them, and a connection alone names the source."""
        return self.unit == "queue"


POSTGRES = SourceKind("postgres", "Postgres", "table", has_change_log=True)
MYSQL = SourceKind("mysql", "MySQL", "table", has_change_log=True)
MONGO = SourceKind(
    "mongo",
    "MongoDB",
    "collection",
    is_of_documents=True,
    has_snapshot=False,
    has_change_log=True,
    has_log_per_schema=True,
    document_key="_id",
)
SQS = SourceKind("sqs", "SQS", "queue", is_of_documents=True, has_snapshot=False)
SOURCE_KINDS = {kind.name: kind for kind in (POSTGRES, MYSQL, MONGO, SQS)}
"""Every kind of source, by name."""


@dataclass(frozen=True)
class SourceReference:
    """Where a stream comes from: ``postgres:public.transactions``, ``mongo/archive:finance.trades``, ``sqs/events``."""

    kind: SourceKind
    connection: str
    """The name of the connection, which picks the block (``source-postgres-<connection>``); '': ``source-postgres``."""
    schema: str
    """The schema or database; '' for a queue, which its connection alone names."""
    name: str
    """The table or collection; '' for a queue."""

    @classmethod
    def parse(cls, text: str, place: str = "") -> SourceReference:
        """Parse the source of a stream. Raises ConfigurationError, naming ``place``, when it is not understood."""
        match = _REFERENCE.fullmatch(text)
        kind = SOURCE_KINDS.get(match["kind"]) if match else None
        if match is None or kind is None or kind.is_queue == bool(match["name"]):
            raise _not_understood(text, place)
        return cls(kind, match["connection"] or "", match["schema"] or "", match["name"] or "")

    @property
    def server(self) -> str:
        """The source as a whole, as errors about all of its streams name it."""
        return f"source {self.kind.name}/{self.connection}" if self.connection else f"source {self.kind.name}"

    @override
    def __str__(self) -> str:
        return (
            f"{self.kind.name}/{self.connection}"
            if self.kind.is_queue
            else f"{self.kind.name}:{self.schema}.{self.name}"
        )


def _not_understood(text: str, place: str) -> ConfigurationError:
    kind, slash, connection = text.partition(":")[0].partition("/")
    if kind in SOURCE_KINDS and slash and not re.fullmatch(CONNECTION, connection):
        return ConfigurationError(
            f"{connection!r} in source {text!r} is not the name of a connection",
            place=place,
            remedy="use lower-case letters, digits and hyphens: the variable SOURCE_POSTGRES_MY_SHOP_URL is the "
            "connection postgres/my-shop",
        )
    with_tables = ", ".join(kind.name for kind in SOURCE_KINDS.values() if not kind.is_queue)
    queues = ", ".join(f"{kind.name}/connection" for kind in SOURCE_KINDS.values() if kind.is_queue)
    return ConfigurationError(
        f"source {text!r} is not understood",
        place=place,
        remedy=f"write kind:schema.name, with {with_tables} as kind, or {queues}",
    )
