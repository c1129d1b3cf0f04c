"""Made-up transfers between accounts of two tables, by several writers at once: the sum of all amounts never changes.

Transactions also change keys, are rolled back in part or as a whole, delete and insert again, and empty a table.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2

TABLES = ("left_side", "right_side")
OPENING_AMOUNT, STEP = 100, 7
KEYS_OF_ACCOUNT = 4
"""Between so many keys an account moves."""
WHOLE_TABLE = 1_000
"""Accounts of a table that transactions delete, and insert again, as a whole."""
NOTE = "(SELECT string_agg(md5(number::text || n), '') FROM generate_series(1, 80) AS n)"
"""Long enough, also compressed, that Postgres keeps it apart from its row, and out of the log where it did not change.
"""


def create_tables(accounts: int) -> str:
    """Return the SQL that creates both tables with their accounts."""
    return "".join(
        f"CREATE TABLE {name} (id int PRIMARY KEY, amount int NOT NULL, note text);"
        f"INSERT INTO {name} SELECT number, {OPENING_AMOUNT}, {NOTE} "
        f"FROM generate_series(1, {accounts}) AS number;"
        for name in TABLES
    )


def transfer(chance: random.Random, accounts: int) -> Iterator[str]:
    """Yield the statements of one transaction."""
    giver_table, taker_table = chance.sample(TABLES, 2)
    giver, taker = chance.randint(1, accounts), chance.randint(1, accounts)
    if chance.random() < 0.2:
        yield "SET LOCAL synchronous_commit = off"
    yield f"UPDATE {giver_table} SET amount = amount - {STEP} WHERE id IN ({_keys(giver, accounts)})"
    if chance.random() < 0.2:
        yield f"SAVEPOINT s; DELETE FROM {giver_table} WHERE id < 1000; ROLLBACK TO s"
    yield f"UPDATE {taker_table} SET amount = amount + {STEP} WHERE id IN ({_keys(taker, accounts)})"
    if chance.random() < 0.3:
        moved = taker + accounts * chance.randrange(KEYS_OF_ACCOUNT)
        yield f"UPDATE {giver_table} SET id = {moved} WHERE id IN ({_keys(taker, accounts)})"
    if accounts <= WHOLE_TABLE and chance.random() < 0.1:
        yield from _write_again(giver_table, "DELETE FROM", "EXCLUSIVE")
    if accounts <= WHOLE_TABLE and chance.random() < 0.03:
        yield from _write_again(taker_table, "TRUNCATE", "ACCESS EXCLUSIVE")


def _keys(account: int, accounts: int) -> str:
    return ", ".join(str(account + accounts * place) for place in range(KEYS_OF_ACCOUNT))


def _write_again(table: str, empty: str, lock: str) -> Iterator[str]:
    yield f"LOCK TABLE {table} IN {lock} MODE"
    yield f"CREATE TEMPORARY TABLE kept_{table} ON COMMIT DROP AS SELECT * FROM {table}; {empty} {table}"
    yield f"INSERT INTO {table} SELECT * FROM kept_{table}"


class TransferWriters:
    """Writers of transfers, each in a thread with a connection of its own, which work until ``stop``."""

    def __init__(self, url: str, accounts: int, seed: int, writers: int = 3, pause_seconds: float = 0.0) -> None:
        self.committed = 0
        """Transactions that were committed until now."""
        self._url, self._accounts, self._pause_seconds = url, accounts, pause_seconds
        self._is_over, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._write, args=(seed + number,)) for number in range(writers)]

    def start(self) -> None:
        """Begin to write."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the transactions that have begun."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _write(self, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - repeatable, and no secret
        with closing(psycopg2.connect(self._url)) as connection, connection.cursor() as cursor:
            while not self._is_over.wait(self._pause_seconds):
                try:
                    for statement in transfer(chance, self._accounts):
                        cursor.execute(statement)
                    if chance.random() < 0.1:
                        connection.rollback()
                        continue
                    connection.commit()
                except (psycopg2.errors.DeadlockDetected, psycopg2.errors.SerializationFailure):
                    connection.rollback()
                    continue
                with self._lock:
                    self.committed += 1


@contextmanager
def writing(writers: TransferWriters) -> Iterator[None]:
    """Let writers work within the context."""
    writers.start()
    try:
        yield
    finally:
        writers.stop()
