"""Names of block documents. They are derived from connections, so that every further kind of source fits."""

from __future__ import annotations

from millrace.declaration.masks import DEFAULT_KEY, Hash, variable_of_key
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.declaration.streams import Streams

WAREHOUSE = "warehouse"
LANDING = "landing"
PROCESSED = "processed"
AWS = "aws"
MASK_KEY = "mask-key"
ALERTS = "alerts"
"""The name of notification blocks: alerts go to every one of them, of any type."""


def source_name(kind: str, connection: str = "") -> str:
    """Return the name of the block of a source: ``source-postgres``, or ``source-postgres-<connection>``."""
    return f"source-{kind}-{connection}" if connection else f"source-{kind}"


def dead_letter(connection: str = "") -> str:
    """Return the connection of the dead-letter queue of a queue: ``<connection>-dead-letter``."""
    return f"{connection}-dead-letter" if connection else "dead-letter"


def warehouse_name(connection: str = "") -> str:
    """Return the name of the block of a warehouse: ``warehouse``, or ``warehouse-<connection>``."""
    return f"{WAREHOUSE}-{connection}" if connection else WAREHOUSE


def mask_key_name(key: str) -> str:
    """Return the name of the block of a key of hashes: ``mask-key``, or ``mask-key-<name>``."""
    return MASK_KEY if key == DEFAULT_KEY else f"{MASK_KEY}-{key}"


def variable_name(document: str) -> str:
    """Return the variable that describes a source, a warehouse, a zone of the lake, or holds a key: ``MASK_KEY``."""
    if document.startswith(MASK_KEY):
        return variable_of_key(document.removeprefix(MASK_KEY).removeprefix("-") or DEFAULT_KEY)
    kind = "BUCKET" if document in {LANDING, PROCESSED} else "URL"
    return f"{document}_{kind}".upper().replace("-", "_")


def variables_of(pipeline: Pipeline) -> set[str]:
    """Return the variables of the URLs that a pipeline needs to run.

    The URL of a queue is not a secret, so it is not among them.
    """
    sources = {declared.reference for declared in _list_declared(pipeline)}
    documents = {
        source_name(reference.kind.name, reference.connection) for reference in sources if not reference.kind.is_queue
    }
    urls = {variable_name(name) for name in documents | {WAREHOUSE, warehouse_name(pipeline.warehouse)}}
    return urls | {variable_of_key(key) for key in mask_keys_of(pipeline)}


def mask_keys_of(pipeline: Pipeline) -> set[str]:
    """Return the names of the keys by which a pipeline hashes values."""
    masks = (mask for declared in _list_declared(pipeline) for mask in declared.mask.values())
    return {mask.key for mask in masks if isinstance(mask, Hash)}


def _list_declared(pipeline: Pipeline) -> list[Stream | Streams]:
    return [*pipeline.streams, *pipeline.wildcards]
