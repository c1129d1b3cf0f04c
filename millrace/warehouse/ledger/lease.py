"""A lease for each stream: one run at a time reads and loads it, and a run that lost its lease stops without writing.

The clock is that of the warehouse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace.base.errors import StreamBusy
from millrace.warehouse.session import lock_table

LEASES = "millrace.leases"
LEASE_SECONDS = 120
RENEWAL_SECONDS = 30.0
_OF_STREAM = "pipeline = %s AND stream = %s"


def take_lease(connection: Any, clock: str, pipeline: str, stream: str, holder: str) -> int:
    """Take the lease of a stream and return its token. Commits.

    The same holder may take it again at once, another holder once it has expired; before that, StreamBusy is raised.
    """
    lock_table(connection, LEASES)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT token, holder, expires_at, expires_at > {clock} FROM millrace.leases WHERE {_OF_STREAM}",
            (pipeline, stream),
        )
        found = cursor.fetchone() or (_find_last_applied(cursor, pipeline, stream), holder, None, False)
        token, held_by, expires_at, is_held = found
        if is_held and held_by != holder:
            connection.rollback()
            raise StreamBusy(
                f"{held_by} holds the stream until {expires_at:%H:%M:%S} UTC, and longer if it goes on",
                place=f"stream {pipeline}.{stream}",
                remedy="wait for that run, or for the lease to end if it is dead",
            )
        cursor.execute(f"DELETE FROM millrace.leases WHERE {_OF_STREAM}", (pipeline, stream))
        cursor.execute(
            "INSERT INTO millrace.leases (pipeline, stream, token, holder, expires_at) "
            f"SELECT %s, %s, %s, %s, {_later(clock, LEASE_SECONDS)}",
            (pipeline, stream, token + 1, holder),
        )
    connection.commit()
    return int(token) + 1


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
