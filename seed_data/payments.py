"""Made-up payments in a table of MariaDB: one writer inserts, changes and deletes them, moves keys and empties it."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pymysql
from sqlalchemy.engine import make_url

PAYMENTS = "payments"
OPENING_PAYMENTS, LARGE_TRANSACTION = 5_000, 20_000
NEW = "(id, amount, note) SELECT seq, seq % 100, CONCAT('payment ', seq) FROM"


def connect(url: str) -> Any:
    """Return a connection that is in no transaction."""
    parts = make_url(url)
    return pymysql.connect(
        host=parts.host or "",
        port=parts.port or 3306,
        user=parts.username or "",
        password=str(parts.password or ""),
        database=parts.database,
        autocommit=True,
    )


def create_payments(url: str) -> None:
    """Fill the table, in the place of what it had."""
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {PAYMENTS}")
        cursor.execute(f"CREATE TABLE {PAYMENTS} (id int PRIMARY KEY, amount int, note varchar(40))")
        cursor.execute(f"INSERT INTO {PAYMENTS} {NEW} seq_1_to_{OPENING_PAYMENTS}")


def list_payments(url: str) -> list[tuple[Any, ...]]:
    """Return all payments."""
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT id, amount, note FROM {PAYMENTS}")
        return list(cursor.fetchall())


def change_payments(chance: random.Random) -> Iterator[str]:
    """Yield the statements of one transaction, or one statement that is none."""
    number = chance.randint(1, OPENING_PAYMENTS)
    if chance.random() < 0.005:
        yield f"TRUNCATE {PAYMENTS}"
        return
    yield "BEGIN"
    yield f"REPLACE INTO {PAYMENTS} VALUES ({number}, {chance.randrange(100)}, 'replaced')"
    yield f"UPDATE {PAYMENTS} SET amount = amount + 1 WHERE id BETWEEN {number} AND {number + 9}"
    if chance.random() < 0.3:
        yield f"UPDATE IGNORE {PAYMENTS} SET id = -id WHERE id BETWEEN {number} AND {number + 2}"
    if chance.random() < 0.3:
        yield f"DELETE FROM {PAYMENTS} WHERE id = {chance.randint(1, OPENING_PAYMENTS)}"
    if chance.random() < 0.005:
        yield f"REPLACE INTO {PAYMENTS} {NEW} seq_1_to_{LARGE_TRANSACTION}"
    yield "ROLLBACK" if chance.random() < 0.1 else "COMMIT"


class PaymentWriter:
    """Writes payments in a thread until the context ends."""

    def __init__(self, url: str, pause_seconds: float) -> None:
        self.written = 0
        """Transactions until now."""
        self._url, self._pause_seconds = url, pause_seconds
        self._is_over, self._thread = threading.Event(), threading.Thread(target=self._write)

    def __enter__(self) -> PaymentWriter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _write(self) -> None:
        chance = random.Random(3)  # noqa: S311 - repeatable, and no secret
        with closing(connect(self._url)) as connection, connection.cursor() as cursor:
            while not self._is_over.wait(self._pause_seconds):
                for statement in change_payments(chance):
                    cursor.execute(statement)
                self.written += 1
