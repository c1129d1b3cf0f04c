"""A stream of notes for the tests of what a run does not do by itself."""

from __future__ import annotations

from dataclasses import replace

from millrace import Snapshot
from millrace.declaration.consent import Consent
from millrace.runs.choose import ReadRequest
from tests.support.engine import Engine
from tests.support.notes import NOTES, create_notes

WHOLE = replace(NOTES, capture=Snapshot())
ALLOW_DELETES = ReadRequest(consent=Consent(allow_deletes=True))
ROWS = 200


def fill(engine: Engine, rows: int = ROWS, table: str = "notes") -> None:
    """Create a table of so many notes that a share of them counts."""
    create_notes(engine, rows, table)


def everything(engine: Engine) -> list[list[tuple[object, ...]]]:
    """The target, and what the ledger has of batches."""
    return [engine.rows("notes"), engine.query("SELECT batch_id, position FROM millrace.batches ORDER BY 1")]


def lose(engine: Engine, loss: str) -> None:
    """What a person does to the target; ``remade``: an empty one in its place."""
    if loss == "remade":
        text = "VARCHAR(256)" if engine.warehouse.dialect.measures_text else "TEXT"
        own = f"id INT, body {text}, changed TIMESTAMPTZ, _row_hash VARCHAR(64), _loaded_at TIMESTAMPTZ"
        loss = f"DROP TABLE engine.notes; CREATE TABLE engine.notes ({own})"
    engine.query(loss)
