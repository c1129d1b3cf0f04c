"""Ask a source what it has, for `millrace init`."""

from __future__ import annotations

from collections.abc import Sequence

from millrace.blocks.databases import DATABASES
from millrace.blocks.load import load_database
from millrace.declaration.source_kinds import SourceReference
from millrace.discovery.choose_tables import choose_tables
from millrace.sources.found import FoundTable


async def find_tables(
    reference: SourceReference, include: Sequence[str], exclude: Sequence[str], sample_documents: int
) -> list[FoundTable]:
    """Return the tables or collections that a reference with patterns names. Raises ConfigurationError, Unreachable."""
    block = await load_database(reference)
    async with DATABASES[reference.kind].open(block, reference.server) as source:
        found = await source.find_tables(reference.schema, sample_documents)
    return choose_tables(reference, found, include, exclude)
