"""The limit of columns that a stream may fill, so that its target fits into a table of either warehouse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Protocol

from millrace.base.errors import SchemaConflict
from millrace.declaration.stream import STEP, Stream

TABLE_COLUMNS, MAX_ADDED_COLUMNS = 1_600, 12
"""Most columns of a table of Redshift or Postgres, and how many of them Millrace may add (hash, versions, marks)."""
MAX_COLUMNS = TABLE_COLUMNS - MAX_ADDED_COLUMNS
"""Most columns that a stream may fill."""
WIDTH_REMEDY = (
    "keep a document with ever new fields whole (types={'<its path>': DOCUMENT}), lower flatten_depth, or leave fields "
    "out (omitted)"
)


class Wide(Protocol):
    """What a table has its columns from."""

    @property
    def place(self) -> str:
        """How errors name it."""
        ...

    @property
    def is_of_documents(self) -> bool:
        """Whether its rows are documents."""
        ...


def refuse_fields_as_data(
    stream: Stream, new_paths: Collection[str], remedy: str = "keep it whole (types={{{document!r}: DOCUMENT}})"
) -> None:
    """Raise SchemaConflict if the fields within one document are more new columns than the stream allows.

    Fields at any depth count. The innermost document of which this is true is named.
    """
    counted = Counter(path[: step.start()] for path in new_paths for step in STEP.finditer(path))
    too_wide = [document for document, count in counted.items() if count > stream.max_new_columns]
    if not too_wide:
        return
    document = max(too_wide, key=lambda document: (len(STEP.split(document)), counted[document]))
    raise SchemaConflict(
        f"the fields of {document!r} would become {counted[document]:,} new columns or more, and "
        f"{stream.max_new_columns:,} are allowed",
        place=stream.place,
        remedy=f"{remedy.format(document=document)}, or raise max_new_columns",
    )


def refuse_too_many_columns(stream: Wide, paths: Collection[str]) -> None:
    """Raise SchemaConflict if ``paths`` are more fields or columns than a table can have."""
    if len(paths) <= MAX_COLUMNS:
        return
    field, columns = Counter(path.partition(".")[0] for path in paths).most_common(1)[0]
    most = f", {columns:,} of them within {field!r}" if columns > MAX_COLUMNS / 2 else ""
    raise SchemaConflict(
        f"its rows have at least {len(paths):,} different fields{most}, and a table of the warehouse can have "
        f"{MAX_COLUMNS:,} besides the columns that Millrace adds",
        place=stream.place,
        remedy=WIDTH_REMEDY if stream.is_of_documents else "read a view that has fewer columns",
    )
