"""Reset: set the position of a stream, as an entry of the ledger beside its batches.

So the position stays that of the newest entry that has one, and a batch that was read before the reset is refused as
older by its lease.
"""

from __future__ import annotations

from datetime import UTC, datetime

from millrace.lake.batch import new_batch_id
from millrace.warehouse.ledger.ledger import COUNTS, OF_STREAM, Ledger

KIND = "reset"
"""The kind of the entry. No batch in the lake has it."""


def record_reset(ledger: Ledger, pipeline: str, stream: str, position: str | None, token: int) -> None:
    """Record that the next window of a stream begins at ``position`` (None: at the beginning). Commits.

    ``token`` is that of the stream's lease, which the caller holds.
    """
    ledger.lock()
    now = datetime.now(UTC)
    former = ledger.find_position(pipeline, stream)
    target = ledger.fetch_first(
        f"SELECT target FROM millrace.batches WHERE {OF_STREAM} ORDER BY token DESC, applied_at DESC LIMIT 1",
        (pipeline, stream),
    )
    entry = (
        new_batch_id(now), KIND, pipeline, stream, target[0] if target else "", "", token, now, former, position,
        *[0] * 6, now,
    )  # fmt: skip
    with ledger.connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO millrace.batches (batch_id, kind, pipeline, stream, target, manifest, token, read_at, "
            f"lower_bound, position, {COUNTS}, applied_at) VALUES ({', '.join(['%s'] * len(entry))})",
            entry,
        )
    ledger.connection.commit()
