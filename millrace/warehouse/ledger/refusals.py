"""Refuse batches that come too late, or whose rows are not those that the target holds, by what the ledger says."""

from __future__ import annotations

from millrace.base.errors import ConfigurationError, Superseded
from millrace.lake.batch import Batch
from millrace.warehouse.ledger import lease
from millrace.warehouse.ledger.ledger import OF_STREAM, Ledger

SHOWN_SELECTION = 200
"""How many characters of a condition an error shows."""


def refuse_superseded(ledger: Ledger, batch: Batch) -> None:
    """Raise Superseded when a batch of a later lease was applied, or when another run has the lease now.

    The batch would otherwise go back in time. The source's clock never decides which batch is later.
    """
    place = f"pipeline {batch.pipeline}, stream {batch.stream}"
    row = ledger.fetch_first(
        f"SELECT max(token) FROM millrace.batches WHERE {OF_STREAM} AND batch_id <> %s",
        (batch.pipeline, batch.stream, batch.batch_id),
    )
    latest = row[0] if row and row[0] else 0
    newest = lease.find_newest_token(ledger.connection, batch.pipeline, batch.stream)
    # Above the newest: leases were deleted by hand after the read, and tokens went on from the applied batches. Those
    # of the lake are always above the one with which the lake got the row of the stream.
    is_above = batch.progress.token > newest > 0 and batch.progress.predecessor is None
    if latest > batch.progress.token or latest == batch.progress.token > 0 or is_above:
        raise Superseded(
            f"batch {batch.batch_id} is older, by its lease, than one that is already applied or will be",
            place=place,
            remedy="run again: the next read starts where the applied one ended",
        )
    if newest > batch.progress.token:
        raise Superseded(
            f"another run took the stream over after batch {batch.batch_id} was read",
            place=place,
            remedy="nothing to do: that run reads the same changes",
        )
    _refuse_other_predecessor(ledger, batch, place)


def _refuse_other_predecessor(ledger: Ledger, batch: Batch, place: str) -> None:
    """Raise Superseded when a batch was read by a state in the lake that is not the ledger's state any more."""
    predecessor = batch.progress.predecessor
    if predecessor is None:
        return
    newest = ledger.find_newest_batch(batch.pipeline, batch.stream, besides=batch.batch_id)
    if newest != predecessor:
        raise Superseded(
            f"batch {batch.batch_id} was read when {predecessor or 'no batch'} was the newest applied one, and now it "
            f"is {newest or 'none'}",
            place=place,
            remedy="run again: the next read starts where the ledger says",
        )


def refuse_taken_target(ledger: Ledger, batch: Batch, target: str) -> None:
    """Raise ConfigurationError when another stream is loaded into the same target."""
    other = ledger.fetch_first(
        "SELECT pipeline, stream FROM millrace.batches WHERE target = %s AND (pipeline <> %s OR stream <> %s) LIMIT 1",
        (target, batch.pipeline, batch.stream),
    )
    if other:
        raise ConfigurationError(
            f"{target} is the target of stream {other[0]}.{other[1]} already",
            place=f"pipeline {batch.pipeline}, stream {batch.stream}",
            remedy="give the stream another target, or the pipeline another schema",
        )


def refuse_other_source(ledger: Ledger, batch: Batch) -> None:
    """Raise ConfigurationError when the target holds rows of another source, and nobody accepted this one."""
    recorded = ledger.find_source(batch.pipeline, batch.stream)
    if not batch.consent.accept_source:
        place = f"pipeline {batch.pipeline}, stream {batch.stream}"
        check_source(recorded, batch.progress.source, place)
        check_selection(ledger.find_selection(batch.pipeline, batch.stream), batch.progress.selection, place)


def check_source(recorded: str, declared: str, place: str) -> None:
    """Raise ConfigurationError when a target holds rows of another source than the declared one; '': not known."""
    if recorded and declared and recorded != declared:
        raise ConfigurationError(
            f"its target holds rows of {recorded}, and the declared source is {declared}: their rows would mix, and a "
            "sweep would delete those of the former",
            place=place,
            remedy="give the new source a stream or a target of its own; or, if it takes the place of the former one, "
            "run once with --accept-source (run parameter accept_source), which compares it with the target",
        )


def check_selection(recorded: str, declared: str, place: str) -> None:
    """Raise ConfigurationError when a target holds other rows of its source than are declared; '': not known."""
    if recorded and declared and recorded != declared:
        raise ConfigurationError(
            f"its target holds the rows of `{_shorten(recorded)}`, and the declaration (where) now selects those of "
            f"`{_shorten(declared)}`: a sweep or snapshot would delete the rows outside",
            place=place,
            remedy="take the change back; or, if it is meant, run once with --accept-source (run parameter "
            "accept_source), which compares source and target",
        )


def _shorten(selection: str) -> str:
    return selection if len(selection) <= SHOWN_SELECTION else f"{selection[:SHOWN_SELECTION]}…"
