"""Import trades.json into MongoDB ``finance.trades`` by bulk writes.

New documents are inserted; existing ones are compared by ``id`` and written if they differ. ``updatedAt`` is the
server's clock and changes only with a real change.
"""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from bson.codec_options import CodecOptions
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from millrace.base.errors import Conflict, FatalError
from millrace.drivers.mongo_client import mongo_errors
from millrace.lake.store import ObjectStore
from millrace.seed_data.stori.outcome import Outcome, keep_rejects, sha256_of
from millrace.seed_data.stori.trade_file import STORED_ONLY, Document, TradeRecord, check_complete, read_trades
from millrace.seed_data.stori.trade_validator import COLLECTION, place, refusal_reasons

_BATCH_DOCUMENTS = 1_000
_LOOKUP_DOCUMENTS = 100
_VALIDATION_FAILED, _DUPLICATE_KEY = 121, 11000


@dataclass
class _Written:
    """The outcome of writing documents, by index: written, already there, refused with reasons."""

    written: int = 0
    present: list[int] = field(default_factory=list)
    refused: dict[int, list[str]] = field(default_factory=dict)


async def import_trades(database: Any, path: Path, store: ObjectStore) -> Outcome:
    """Import every record of a file; repeating it, also after a crash, changes no document that is equal.

    ``database`` is Motor's. Records that are not documents, and documents that the validator refuses, go to the landing
    zone. If an id is in the file twice, the later record counts. Raises ConfigurationError if the file is not a
    complete JSON document (nothing is imported then), Conflict if somebody changed the same documents meanwhile.
    """
    await asyncio.to_thread(check_complete, path)
    records, counts = read_trades(path), Counter[str]()
    with tempfile.TemporaryDirectory() as directory:
        rejects = Path(directory) / "rejects.ndjson"
        with rejects.open("wb") as kept:
            while batch := await asyncio.to_thread(lambda: list(islice(records, _BATCH_DOCUMENTS))):
                with mongo_errors(place(database)):
                    counts.update(await _import_batch(database[COLLECTION], batch, path.name, kept))
        sha256 = await asyncio.to_thread(sha256_of, path)
        key = await asyncio.to_thread(keep_rejects, rejects, store, COLLECTION, sha256)
    return Outcome(
        path.name, counts["imported"], counts["updated"], counts["unchanged"], counts["rejected"], rejects_key=key
    )


async def _import_batch(collection: Any, batch: Sequence[TradeRecord], file: str, kept: BinaryIO) -> dict[str, int]:
    """Write one batch and keep its rejects; returns counts under the names that Outcome has for them."""
    trades = [trade for trade in batch if not trade.reason]
    inserted = await insert_documents(collection, [trade.document for trade in trades])
    present = [trades[index] for index in inserted.present]
    reasons = {trade.position: [trade.reason] for trade in batch if trade.reason}
    reasons |= {trades[index].position: refused for index, refused in inserted.refused.items()}
    updated = 0
    for first in range(0, len(present), _LOOKUP_DOCUMENTS):
        latest = list({trade.document["id"]: trade for trade in present[first : first + _LOOKUP_DOCUMENTS]}.values())
        result = await _update_changed(collection, [trade.document for trade in latest])
        updated += result.written
        reasons |= {latest[index].position: refused for index, refused in result.refused.items()}
    _keep(kept, file, batch, reasons)
    unchanged = len(batch) - inserted.written - updated - len(reasons)
    return {"imported": inserted.written, "updated": updated, "unchanged": unchanged, "rejected": len(reasons)}


async def insert_documents(collection: Any, documents: Sequence[Document]) -> _Written:
    """Insert in bulk, stamped with the server's clock."""
    if not documents:
        return _Written()
    now = (await collection.database.command("hello"))["localTime"]
    try:
        await collection.insert_many([{**document, "updatedAt": now} for document in documents], ordered=False)
    except BulkWriteError as error:
        return _failures(collection, error, len(documents))
    return _Written(written=len(documents))


async def _update_changed(collection: Any, documents: Sequence[Document]) -> _Written:
    """Overwrite the stored documents of the same ids where they differ, unless somebody else is faster."""
    aware = collection.with_options(codec_options=CodecOptions(tz_aware=True))
    wanted = {"id": {"$in": [document["id"] for document in documents]}}
    stored = {document["id"]: document async for document in aware.find(wanted)}
    if len(stored) < len(documents):
        raise _conflict(collection)
    changed = [index for index, document in enumerate(documents) if _differs(stored[document["id"]], document)]
    if not changed:
        return _Written()
    operations = [_overwrite(stored[documents[index]["id"]], documents[index]) for index in changed]
    try:
        matched, failures = (await collection.bulk_write(operations, ordered=False)).matched_count, _Written()
    except BulkWriteError as error:
        failures = _failures(collection, error, len(changed))
        matched = error.details["nMatched"] + len(failures.refused)
    if matched < len(changed):
        raise _conflict(collection)
    refused = {changed[index]: reasons for index, reasons in failures.refused.items()}
    return _Written(written=len(changed) - len(refused), refused=refused)


def _differs(stored: Document, document: Document) -> bool:
    return {name: held for name, held in stored.items() if name not in STORED_ONLY} != document


def _overwrite(stored: Document, document: Document) -> UpdateOne:
    """Return an update that matches only the document that was read: a later change sets another ``updatedAt``."""
    gone = stored.keys() - document.keys() - STORED_ONLY
    change: Document = {"$set": document, "$currentDate": {"updatedAt": True}}
    if gone:
        change["$unset"] = dict.fromkeys(gone, "")
    return UpdateOne({"_id": stored["_id"], "updatedAt": stored.get("updatedAt")}, change)


def _failures(collection: Any, error: BulkWriteError, total: int) -> _Written:
    """Return the refused documents.

    Raises FatalError for any other failure except ids that exist.
    """
    outcome = _Written(written=total)
    for failure in error.details["writeErrors"]:
        outcome.written -= 1
        if failure["code"] == _VALIDATION_FAILED:
            outcome.refused[failure["index"]] = refusal_reasons(failure)
        elif failure["code"] == _DUPLICATE_KEY:
            outcome.present.append(failure["index"])
        else:
            raise FatalError(
                f"the server refused a document (code {failure['code']})",
                place=place(collection.database),
                remedy="look the code up in MongoDB's error codes",
            ) from None
    return outcome


def _conflict(collection: Any) -> Conflict:
    return Conflict(
        "documents changed between reading and writing them",
        place=place(collection.database),
        remedy="import the file again; what was written counts as unchanged then",
    )


def _keep(kept: BinaryIO, file: str, batch: Sequence[TradeRecord], reasons: dict[int, list[str]]) -> None:
    for trade in batch:
        if trade.position in reasons:
            coordinates = {"file": file, "position": trade.position, "reasons": reasons[trade.position]}
            try:
                line = json.dumps({**coordinates, "record": trade.record}, default=_as_json)
            except RecursionError:
                # So deep that no line can be made of it; the landed file has it.
                line = json.dumps({**coordinates, "record": None})
            kept.write(line.encode() + b"\n")


def _as_json(number: Decimal) -> float | str:
    """Return the parser's decimals as they were written; those that no double represents become text."""
    return float(number) if math.isfinite(float(number)) else str(number)
