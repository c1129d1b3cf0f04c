"""Names of block documents. A connection's name is derived, so every further kind of source fits."""

from __future__ import annotations

WAREHOUSE = "warehouse"
LANDING = "landing"
PROCESSED = "processed"
AWS = "aws"
ALERTS = "alerts"
"""Every notification block of this name, of any type, gets the alerts."""


def source_name(kind: str, connection: str = "") -> str:
    """``source-postgres``, or ``source-postgres-<connection>`` for a named connection."""
    return f"source-{kind}-{connection}" if connection else f"source-{kind}"


def dead_letter(connection: str = "") -> str:
    """The connection of a queue's dead-letter queue: ``<connection>-dead-letter``."""
    return f"{connection}-dead-letter" if connection else "dead-letter"


def warehouse_name(connection: str = "") -> str:
    """``warehouse``, or ``warehouse-<connection>`` for a named connection."""
    return f"{WAREHOUSE}-{connection}" if connection else WAREHOUSE


def variable_name(document: str) -> str:
    """The variable that describes a source, a warehouse or a zone of the lake: ``SOURCE_POSTGRES_URL``."""
    kind = "BUCKET" if document in {LANDING, PROCESSED} else "URL"
    return f"{document}_{kind}".upper().replace("-", "_")
