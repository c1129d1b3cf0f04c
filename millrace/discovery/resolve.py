"""Resolve the wildcards of a pipeline: from the tables of a catalog, and what the ledger recorded, to streams.

What is decided here and why: docs/decisions/0025-wildcards.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millrace.base.errors import ConfigurationError, MillraceError
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.discovery.resolution import Found, Resolution
from millrace.discovery.table_choice import choose_as_recorded
from millrace.discovery.taken_names import TakenNames
from millrace.discovery.wildcard_tables import WildcardTables
from millrace.warehouse.ledger.recorded_streams import RecordedStream


def resolve(pipeline: Pipeline, found: Mapping[str, Found], recorded: Sequence[RecordedStream]) -> Resolution:
    """Return what the wildcards of a pipeline stand for.

    ``found`` has the tables of the catalogs by wildcard, ``recorded`` what the ledger says. A wildcard with tables that
    are not known fails, and its records stay.
    """
    resolution = Resolution()
    names = TakenNames.of(pipeline, recorded)
    for wildcard in pipeline.wildcards:
        tables = found[str(wildcard)]
        rows = [row for row in recorded if row.wildcard == str(wildcard)]
        if isinstance(tables, MillraceError):
            resolution.errors[str(wildcard)] = tables
            resolution.records += rows
        else:
            WildcardTables(pipeline, wildcard, tables, recorded, names, resolution).resolve()
    return resolution


def resolve_as_recorded(pipeline: Pipeline, recorded: Sequence[RecordedStream]) -> list[Stream]:
    """Return the streams that the wildcards of a pipeline stood for at the last run."""
    wildcards, names = {str(wildcard): wildcard for wildcard in pipeline.wildcards}, TakenNames.of(pipeline, ())
    streams = []
    for row in recorded:
        if row.wildcard in wildcards and not names.explain(row.stream, row.source):
            try:
                streams.append(choose_as_recorded(wildcards[row.wildcard], row).make_stream())
            except ConfigurationError:
                # The declaration changed since; the next run tells what does not fit.
                continue
    return streams
