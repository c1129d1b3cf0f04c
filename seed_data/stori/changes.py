"""Changes the imported data as a living source would: some rows updated, some added. For the demo and for tests.

Which rows, and to what, follows from the seed and from what is there, so two calls in a row change different rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pymongo import UpdateOne

from millrace.drivers.mongo_client import mongo_errors
from millrace.drivers.psycopg_errors import database_errors
from millrace.seed_data.stori.population import LAST_DAY, Accounts, DetailTexts, draw_trades, draw_transactions
from millrace.seed_data.stori.trade_file import as_trade
from millrace.seed_data.stori.trade_validator import COLLECTION, place
from millrace.seed_data.stori.trades import insert_documents
from millrace.seed_data.stori.transactions import PLACE, copy_transactions

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 (classes that are spelled small)
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

_UPDATE = """
UPDATE public.transactions
SET chip_used = NOT chip_used, transaction_details = left(concat_ws('/', transaction_details, 'CORRECTED'), 255)
WHERE transaction_no IN (
    SELECT transaction_no FROM public.transactions ORDER BY md5(concat_ws(':', %s, transaction_no)) LIMIT %s
)
"""
_BALANCES = """
SELECT DISTINCT ON (account_no) account_no, (balance_amt * 100)::bigint
FROM public.transactions ORDER BY account_no, transaction_no DESC
"""


_CHOSEN = "SELECT transaction_no FROM public.transactions ORDER BY md5(concat_ws(':', %s, transaction_no)) LIMIT %s"


@dataclass(frozen=True)
class Changes:
    """Rows that were really inserted, updated and deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


def change_transactions(connection: Connection, *, inserts: int, updates: int, seed: int) -> Changes:
    """Update and insert in one transaction; new rows go on from the accounts' balances."""
    with database_errors(PLACE), connection, connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(transaction_no), 0) FROM public.transactions")
        seeds = [seed, cursor.fetchone()[0]]
        cursor.execute(_UPDATE, (str(seeds), updates))
        updated = cursor.rowcount
        if inserts:
            days = np.full(inserts, LAST_DAY)
            random = np.random.default_rng(seeds)
            copy_transactions(cursor, draw_transactions(random, _accounts(cursor), DetailTexts(seed), days))
    return Changes(inserts, updated)


def change_transactions_silently(connection: Connection, *, updates: int, deletes: int, seed: int) -> Changes:
    """Change rows without the trigger's timestamp, and delete rows, as a manual repair would."""
    with database_errors(PLACE), connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE public.transactions DISABLE TRIGGER transactions_stamp_updated_at")
        cursor.execute(
            f"UPDATE public.transactions SET chip_used = NOT chip_used WHERE transaction_no IN ({_CHOSEN})",
            (f"update {seed}", updates),
        )
        updated = cursor.rowcount
        cursor.execute("ALTER TABLE public.transactions ENABLE TRIGGER transactions_stamp_updated_at")
        cursor.execute(
            f"DELETE FROM public.transactions WHERE transaction_no IN ({_CHOSEN})", (f"delete {seed}", deletes)
        )
        return Changes(updated=updated, deleted=cursor.rowcount)


def _accounts(cursor: Cursor) -> Accounts:
    cursor.execute(_BALANCES)
    held = np.array(cursor.fetchall(), dtype=np.int64)
    return Accounts(held[:, 0], held[:, 1]) if len(held) else Accounts.open(10)


async def change_trades(database: Any, *, inserts: int, updates: int, seed: int) -> Changes:
    """Raise the price of ``updates`` trades, then add ``inserts`` new ones. ``database`` is Motor's."""
    with mongo_errors(place(database)):
        return await _change_collection(database[COLLECTION], inserts, updates, seed)


async def change_trades_silently(database: Any, *, updates: int, deletes: int, seed: int) -> Changes:
    """Prices that change without ``updatedAt``, and trades that go."""
    with mongo_errors(place(database)):
        collection = database[COLLECTION]
        chosen = await _some_ids(collection, np.random.default_rng(seed).bytes(12).hex(), updates + deletes)
        changed = await collection.update_many({"id": {"$in": chosen[:updates]}}, {"$inc": {"price": 1}})
        gone = await collection.delete_many({"id": {"$in": chosen[updates:]}})
        return Changes(updated=changed.modified_count, deleted=gone.deleted_count)


async def _change_collection(collection: Any, inserts: int, updates: int, seed: int) -> Changes:
    random = np.random.default_rng([seed, await collection.count_documents({})])
    operations = [
        UpdateOne({"id": identifier}, {"$inc": {"price": 1}, "$currentDate": {"updatedAt": True}})
        for identifier in await _some_ids(collection, random.bytes(12).hex(), updates)
    ]
    updated = (await collection.bulk_write(operations, ordered=False)).modified_count if operations else 0
    trades = (as_trade(position, record) for position, record in enumerate(draw_trades(random, inserts), 1))
    inserted = await insert_documents(collection, [trade.document for trade in trades])
    return Changes(inserted.written, updated)


async def _some_ids(collection: Any, pivot: str, count: int) -> list[str]:
    """``count`` ids in order from ``pivot`` on, and from the beginning when there are not enough behind it."""
    found: list[str] = []
    for side in ("$gte", "$lt"):
        if missing := count - len(found):
            cursor = collection.find({"id": {side: pivot}}, {"id": True}).sort("id", 1).limit(missing)
            found += [document["id"] async for document in cursor]
    return found
