"""A lease for each stream: one run at a time reads and loads it, and a run that lost its lease stops without writing.

The clock is that of the warehouse. Where the lake keeps the leases, the row of a stream belongs to the lake for good,
so that no run takes it here (docs/decisions/0023-a-warehouse-that-sleeps.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from millrace.base.errors import StreamBusy
from millrace.lake.lease import LEASE_SECONDS, make_busy
from millrace.warehouse.session import lock_table

LEASES = "millrace.leases"
RENEWAL_SECONDS = 30.0
LAKE = "the lake"
"""The holder of a row whose lease is kept in the lake."""
_FOREVER = "9999-12-31"
_OF_STREAM = "pipeline = %s AND stream = %s"


class KeptInLake(StreamBusy):
    """The lease of the stream is kept in the lake."""


def take_lease(
    connection: Any, clock: str, pipeline: str, stream: str, holder: str, *, lake_token: int | None = None
) -> int:
    """Take the lease of a stream and return its token. Commits.

    The same holder may take it again at once, another holder once it has expired; before that, StreamBusy is raised. A
    lease that the lake keeps is taken only by whoever has it there, with the token ``lake_token``; else KeptInLake is
    raised.
    """
    lock_table(connection, LEASES)
    with connection.cursor() as cursor:
        token, held_by, expires_at, is_held = _find_lease(cursor, clock, pipeline, stream, holder)
        if held_by == LAKE:
            if lake_token is None:
                connection.rollback()
                raise KeptInLake(
                    "its lease is kept in the lake",
                    place=f"stream {pipeline}.{stream}",
                    remedy="give every run the same WAREHOUSE_LEASES",
                )
            token = max(token, lake_token, _find_last_applied(cursor, pipeline, stream))
        elif is_held and held_by != holder:
            connection.rollback()
            raise make_busy(held_by, expires_at, pipeline, stream)
        _write_lease(cursor, pipeline, stream, token + 1, holder, _later(clock, LEASE_SECONDS))
    connection.commit()
    return token + 1


def give_to_lake(connection: Any, clock: str, pipeline: str, stream: str) -> int:
    """Let the lake keep the lease of a stream from now on, and return the greatest token until now. Commits.

    Raises StreamBusy while a run holds the lease here.
    """
    lock_table(connection, LEASES)
    with connection.cursor() as cursor:
        token, held_by, expires_at, is_held = _find_lease(cursor, clock, pipeline, stream, "")
        if is_held and held_by not in {LAKE, ""}:
            connection.rollback()
            raise make_busy(held_by, expires_at, pipeline, stream)
        if held_by != LAKE:
            _write_lease(cursor, pipeline, stream, token + 1, LAKE, f"TIMESTAMP '{_FOREVER}'")
            token += 1
        newest = max(token, _find_last_applied(cursor, pipeline, stream))
    connection.commit()
    return newest


def _find_lease(
    cursor: Any, clock: str, pipeline: str, stream: str, holder: str
) -> tuple[int, str, datetime | None, bool]:
    """Return token, holder and end of a lease, and whether it is held; of a stream without one it is ``holder``'s."""
    cursor.execute(
        f"SELECT token, holder, expires_at, expires_at > {clock} FROM millrace.leases WHERE {_OF_STREAM}",
        (pipeline, stream),
    )
    if (found := cursor.fetchone()) is None:
        return _find_last_applied(cursor, pipeline, stream), holder, None, False
    token, held_by, expires_at, is_held = found
    return int(token), held_by, expires_at, is_held


def _write_lease(cursor: Any, pipeline: str, stream: str, token: int, holder: str, expires_at: str) -> None:
    cursor.execute(f"DELETE FROM millrace.leases WHERE {_OF_STREAM}", (pipeline, stream))
    cursor.execute(
        "INSERT INTO millrace.leases (pipeline, stream, token, holder, expires_at) "
        f"SELECT %s, %s, %s, %s, {expires_at}",
        (pipeline, stream, token, holder),
    )


def extend_leases(
    connection: Any, clock: str, pipeline: str, tokens: Mapping[str, int], seconds: int = LEASE_SECONDS
) -> None:
    """Let leases end ``seconds`` from now; with 0 they are given back. Commits.

    ``tokens`` are the leases by stream. A lease that another run has taken since is left alone.
    """
    lock_table(connection, LEASES)
    with connection.cursor() as cursor:
        for stream, token in tokens.items():
            cursor.execute(
                f"UPDATE millrace.leases SET expires_at = {_later(clock, seconds)} WHERE {_OF_STREAM} AND token = %s",
                (pipeline, stream, token),
            )
    connection.commit()


def _find_last_applied(cursor: Any, pipeline: str, stream: str) -> int:
    """Return the greatest token of an applied batch. So tokens grow also if the rows of leases were deleted by hand."""
    cursor.execute(f"SELECT coalesce(max(token), 0) FROM millrace.batches WHERE {_OF_STREAM}", (pipeline, stream))
    return int(cursor.fetchone()[0])


def find_newest_token(connection: Any, pipeline: str, stream: str) -> int:
    """Return the token of the newest lease; 0 when the stream was never leased."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT max(token) FROM millrace.leases WHERE {_OF_STREAM}", (pipeline, stream))
        return cursor.fetchone()[0] or 0


def _later(clock: str, seconds: int) -> str:
    return f"{clock} + INTERVAL '{seconds} seconds'"
