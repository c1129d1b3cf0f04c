"""A stream of a wildcard for one table: what the catalog suggests, what was chosen before, and what is declared."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from millrace.base.errors import ConfigurationError
from millrace.base.types import DOCUMENT, DataType, text
from millrace.declaration.captures import AnyCapture, Incremental, Snapshot
from millrace.declaration.load_modes import Merge, Replace
from millrace.declaration.stream import Stream
from millrace.declaration.streams import Streams
from millrace.discovery.propose import DeclaredType, ProposedStream
from millrace.sources.found import FoundTable
from millrace.warehouse.ledger.recorded_streams import RecordedStream

TYPES: Mapping[DeclaredType, DataType] = {"DOCUMENT": DOCUMENT, "text()": text()}
SAME_IN_EACH = (
    "deletes",
    "schema_policy",
    "max_rejects",
    "max_reject_share",
    "max_new_columns",
    "flatten_depth",
    "reconcile",
    "stamps_in",
)
"""Fields of a wildcard that each of its streams has as they are."""
EXCLUDE_OR_DECLARE = "exclude it, or declare a Stream for it"


@dataclass(frozen=True)
class TableChoice:
    """What a stream of a wildcard is made of."""

    wildcard: Streams
    proposed: ProposedStream
    """What the catalog suggests, with what was chosen when the table was found."""
    applied: tuple[str, ...]
    """The columns of the wildcard's ``types``, ``omitted`` and ``mask`` that the table has, or had when it was found.

    One that left stays: a column that is hidden might have been renamed, and the read of the stream is refused then.
    """
    suggests: str = ""
    """What the catalog suggests now instead of what was chosen when the table was found; '': the same."""

    @property
    def record(self) -> RecordedStream:
        """The choice, for the ledger."""
        proposed = self.proposed
        choice = {
            "key": list(proposed.key),
            "cursor": proposed.cursor,
            "sweep": proposed.sweep,
            "types": dict(proposed.types),
            "omitted": list(proposed.omitted),
            "max_delete_share": proposed.max_delete_share,
            "applied": list(self.applied),
        }
        return RecordedStream(proposed.name, proposed.source, str(self.wildcard), choice)

    def make_stream(self) -> Stream:
        """Return the stream. Raises ConfigurationError when the wildcard does not fit its table."""
        wildcard, proposed = self.wildcard, self.proposed
        key = list(proposed.key) if wildcard.key is None else wildcard.key
        shared: dict[str, Any] = {name: getattr(wildcard, name) for name in SAME_IN_EACH}
        for share in (proposed.max_delete_share, wildcard.max_delete_share):
            shared |= {} if share is None else {"max_delete_share": share}
        omitted = {*proposed.omitted, *(name for name in wildcard.omitted if name in self.applied)}
        types = {name: TYPES[written] for name, written in proposed.types if name not in omitted}
        return Stream(
            proposed.name,
            proposed.source,
            key[0] if isinstance(key, list) and len(key) == 1 else key or "",
            self._capture,
            load=wildcard.load or (Merge() if key else Replace()),
            sweep=self._sweep,
            types=types | {name: kind for name, kind in wildcard.types.items() if name in self.applied},
            omitted=omitted,
            mask={name: mask for name, mask in wildcard.mask.items() if name in self.applied},
            **shared,
        )

    @property
    def _capture(self) -> AnyCapture:
        chosen = Incremental(self.proposed.cursor) if self.proposed.cursor else Snapshot()
        return self.wildcard.capture or chosen

    @property
    def _sweep(self) -> str:
        if self._capture.reads_everything:
            return ""
        if self.wildcard.sweep is not None:
            return self.wildcard.sweep
        return self.proposed.sweep if self.wildcard.capture is None else ""


def choose_for_table(
    wildcard: Streams, table: FoundTable, proposed: ProposedStream, recorded: RecordedStream | None
) -> TableChoice:
    """Return the choice for a table of the catalog.

    Raises ConfigurationError when the table lacks a column that the wildcard declares for each.
    """
    columns = {column.name for column in table.columns}
    choice = recorded.choice if recorded else {}
    declared = (*wildcard.types, *wildcard.omitted, *wildcard.mask)
    is_of_documents = wildcard.reference.kind.is_of_documents
    applied = {name for name in declared if is_of_documents or name in columns} | {*choice.get("applied", ())}
    if not is_of_documents:
        _check_table(wildcard, table, columns)
    kept = proposed if recorded is None else _keep(proposed, choice, columns)
    suggests = "" if (kept.key, kept.cursor) == (proposed.key, proposed.cursor) else _describe(proposed)
    return TableChoice(wildcard, kept, tuple(sorted(applied)), suggests)


def choose_as_recorded(wildcard: Streams, recorded: RecordedStream) -> TableChoice:
    """Return the choice that was recorded for a table, of which the catalog was not asked."""
    nothing = ProposedStream(recorded.stream, recorded.source, ())
    return TableChoice(wildcard, _restore(nothing, recorded.choice), tuple(recorded.choice["applied"]))


def _keep(proposed: ProposedStream, choice: Mapping[str, Any], columns: Collection[str]) -> ProposedStream:
    """Return the proposal with what was chosen when the table was found, as far as its columns are still there.

    A run never changes how a table is read by itself. Types and omitted columns follow the catalog.
    """
    used = {*choice["key"], *filter(None, [choice["cursor"]])}
    if not used <= set(columns):
        return proposed
    return replace(proposed, key=tuple(choice["key"]), cursor=choice["cursor"], sweep=choice["sweep"])


def _restore(proposed: ProposedStream, choice: Mapping[str, Any]) -> ProposedStream:
    return replace(
        proposed,
        key=tuple(choice["key"]),
        cursor=choice["cursor"],
        sweep=choice["sweep"],
        types=tuple(choice["types"].items()),
        omitted=tuple(choice["omitted"]),
        max_delete_share=choice["max_delete_share"],
    )


def _check_table(wildcard: Streams, table: FoundTable, columns: Collection[str]) -> None:
    declared = [wildcard.key] if isinstance(wildcard.key, str) else wildcard.key or ()
    stamp = wildcard.capture.stamp if wildcard.capture else ""
    missing = [name for name in filter(None, [*declared, stamp]) if name not in columns]
    if missing:
        raise ConfigurationError(f"it has no column {missing[0]!r}", remedy=EXCLUDE_OR_DECLARE)
    if wildcard.capture and wildcard.capture.reads_log and table.kind not in {"table", "collection"}:
        raise ConfigurationError(f"a {table.kind} is in no change log", remedy=EXCLUDE_OR_DECLARE)


def _describe(proposed: ProposedStream) -> str:
    return f"key {describe_key(proposed.key)}, {proposed.capture}"


def describe_key(key: Sequence[str]) -> str:
    """Return a key for people."""
    return ", ".join(key) or "none"
