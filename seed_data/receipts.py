"""Made-up receipts in a collection of MongoDB: one writer makes, changes and deletes them, in transactions."""

from __future__ import annotations

import random
import threading
from typing import Any

from pymongo import MongoClient

DATABASE, COLLECTION = "transfers", "receipts"
OPENING_RECEIPTS = 5_000


def make_receipt(number: int, chance: random.Random) -> dict[str, Any]:
    """Return a receipt, some of which have a field that others lack."""
    receipt: dict[str, Any] = {"_id": number, "amount": chance.randrange(10_000), "place": {"city": "Leeds"}}
    return receipt if chance.random() < 0.5 else {**receipt, "note": f"receipt {number}"}


def create_receipts(url: str) -> None:
    """Fill the collection, in the place of what it had."""
    chance = random.Random(1)  # noqa: S311 - repeatable, and no secret
    with MongoClient[dict[str, Any]](url) as client:
        client.drop_database(DATABASE)
        client[DATABASE][COLLECTION].insert_many([make_receipt(number, chance) for number in range(OPENING_RECEIPTS)])


def list_receipts(url: str) -> list[tuple[Any, ...]]:
    """Return ``_id``, amount and note of every receipt."""
    with MongoClient[dict[str, Any]](url) as client:
        found = client[DATABASE][COLLECTION].find()
        return [(receipt["_id"], receipt["amount"], receipt.get("note")) for receipt in found]


class ReceiptWriter:
    """Writes receipts in a thread until the context ends."""

    def __init__(self, url: str, pause_seconds: float) -> None:
        self.written = 0
        """Transactions that were committed until now."""
        self._url, self._pause_seconds = url, pause_seconds
        self._is_over, self._thread = threading.Event(), threading.Thread(target=self._write)

    def __enter__(self) -> ReceiptWriter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _write(self) -> None:
        chance = random.Random(2)  # noqa: S311 - repeatable, and no secret
        with MongoClient[dict[str, Any]](self._url) as client, client.start_session() as session:
            while not self._is_over.wait(self._pause_seconds):
                with session.start_transaction():
                    for _ in range(chance.randint(1, 3)):
                        _change_one(client[DATABASE][COLLECTION], session, chance)
                self.written += 1


def _change_one(receipts: Any, session: Any, chance: random.Random) -> None:
    number = chance.randrange(2 * OPENING_RECEIPTS)
    if chance.random() < 0.3:
        receipts.delete_one({"_id": number}, session=session)
    else:
        receipts.replace_one({"_id": number}, make_receipt(number, chance), upsert=True, session=session)
