"""Ask a source what it has, for `millrace init` and for wildcards."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from prefect import task

from millrace.blocks.databases import DATABASES
from millrace.blocks.load import load_database
from millrace.declaration.source_kinds import SourceReference
from millrace.discovery.choose_tables import choose_tables
from millrace.sources.found import FoundTable
from millrace.sources.mongo_collections import SAMPLE_DOCUMENTS
from millrace.tasks.policy import TASK_OPTIONS


async def find_tables(
    reference: SourceReference, include: Sequence[str], exclude: Sequence[str], sample_documents: int
) -> list[FoundTable]:
    """Return the tables or collections that a reference with patterns names. Raises ConfigurationError, Unreachable."""
    found = await _list_tables(reference, sample_documents)
    return choose_tables(reference, found, include, exclude)


@task(name="find-tables", task_run_name="find tables of {source}", **TASK_OPTIONS)
async def find_all_tables(source: str, unsampled: Collection[str]) -> list[FoundTable]:
    """Return the tables or collections beside which a source lies. Raises ConfigurationError, Unreachable.

    ``source`` names a table or a pattern. No document is read of collections that are ``unsampled``.
    """
    return await _list_tables(SourceReference.parse(source), SAMPLE_DOCUMENTS, unsampled)


async def _list_tables(
    reference: SourceReference, sample_documents: int, unsampled: Collection[str] = ()
) -> list[FoundTable]:
    block = await load_database(reference)
    async with DATABASES[reference.kind].open(block, reference.server) as source:
        return await source.find_tables(reference.schema, sample_documents, unsampled)
