"""Which declared fields had a value in a read of documents or messages; the report names those that had none.

A document may lack any field by right, so only a read of everything shows that a name is likely misspelt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from millrace.base.errors import ConfigurationError
from millrace.base.types import TIME_KINDS, Column
from millrace.declaration.stream import Stream, is_at_or_below
from millrace.sources.chunk import Chunk
from millrace.sources.object_ids import is_object_id_cursor


class SeenFields:
    """Collects, chunk by chunk, the columns and fields that had a value."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._names: set[str] = set()
        self._paths: set[str] = set()
        self._omitted: frozenset[str] = frozenset()
        self._rows = 0

    def add(self, chunk: Chunk) -> None:
        """Add a chunk as it was read. Raises ConfigurationError when its cursor column holds no moments."""
        if not self._stream.is_of_documents:
            return
        had = [column for column in chunk.columns if chunk.frame[column.name].null_count() < chunk.frame.height]
        self._names.update(column.name for column in had)
        self._paths.update(column.path for column in had)
        self._omitted |= chunk.omitted
        self._rows += chunk.frame.height
        self.refuse_undated(had)

    def refuse_undated(self, columns: Sequence[Column]) -> None:
        """Raise ConfigurationError when the field that says when a row was changed holds no moments."""
        time_field = "" if is_object_id_cursor(self._stream) else self._stream.capture.stamp
        for column in columns:
            if time_field and column.path == time_field and column.type.kind not in TIME_KINDS:
                raise ConfigurationError(
                    f"stamp {time_field!r} is of type {column.type.kind}",
                    place=self._stream.place,
                    remedy="use a field of dates; of messages declare its type (types or contract)",
                )

    def refuse_unsorted(self) -> None:
        """Raise ConfigurationError when the column by which a new target is to be sorted or distributed had no value.

        The table would be made without that column.
        """
        declared = {"sorted_by": self._stream.sorted_by, "distributed_by": self._stream.distributed_by}
        for option, name in declared.items():
            if name and self._rows and name not in self._names:
                raise ConfigurationError(
                    f"{option} names {name!r}, and there is no such column",
                    place=self._stream.place,
                    remedy=f"choose from {', '.join(sorted(self._names))}",
                )

    def _has_field(self, path: str) -> bool:
        """Return whether a field had a value, or a field within it, or a document that stays whole and may hold it."""
        return any(is_at_or_below(one, path) or is_at_or_below(path, one) for one in self._paths)

    @property
    def _first_fields(self) -> set[str]:
        """The fields at the first level that had a value."""
        return {name for name in self._stream.columns if any(is_at_or_below(path, name) for path in self._paths)}

    @property
    def note(self) -> str:
        """The declared fields that had a value in no row, for people; '' when there are none."""
        missing = list(self._missing()) if self._rows else []
        return f"no row had a value of {', '.join(missing)}: is the name misspelt?" if missing else ""

    def _missing(self) -> Iterator[str]:
        stream = self._stream
        contract = stream.contract.column_names() if stream.contract else []
        for where, named, met in (
            ("cursor", filter(None, [stream.capture.stamp]), self._paths),
            ("types", [path for path in stream.types if not stream.is_of_found_child(path)], self._paths),
            ("mask", [path for path in stream.mask if not self._has_field(path)], ()),
            ("columns", sorted(stream.columns) if stream.is_of_documents else (), self._first_fields),
            ("omitted", sorted(stream.omitted) if stream.is_of_documents else (), self._omitted),
            ("rewritten", stream.rewritten, self._names),
            ("sorted_by", filter(None, [stream.sorted_by]), self._names),
            ("distributed_by", filter(None, [stream.distributed_by]), self._names),
            ("contract", contract, self._names),
        ):
            yield from (f"{name!r} ({where})" for name in named if name not in met)
