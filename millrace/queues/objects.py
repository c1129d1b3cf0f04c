"""Collected messages: objects of the lake that hold bodies as they were received, under keys that sort by time.

An object is there as a whole or not at all, and is never rewritten. The address of a message is the name of its object
and its number within it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from millrace.base.naming import MESSAGE_ADDRESS
from millrace.lake.batch import new_batch_id
from millrace.lake.store import ObjectStore

COLLECTED, SUFFIX = "collected", ".parquet"
BODY, SENT = "body", "sent"
"""Columns of an object: the message, and the id that the message keeps however often it is delivered."""
DAY = timedelta(days=1)
_TIME = "%Y%m%dT%H%M%S.%fZ"


def collected_prefix(pipeline: str, stream: str) -> str:
    """Return the prefix of the objects of a stream."""
    return f"{pipeline}/{stream}/{COLLECTED}"


def put_messages(store: ObjectStore, prefix: str, messages: Sequence[tuple[str, str]], now: datetime) -> str:
    """Write one object of message ids and bodies, and return its name. The messages are safe when this returns."""
    name, written = new_batch_id(now), io.BytesIO()
    frame = pl.DataFrame(messages, schema={SENT: pl.String, BODY: pl.String}, orient="row")
    frame.write_parquet(written, compression="zstd")
    store.put_bytes(written.getvalue(), key_of(prefix, name))
    return name


def get_messages(store: ObjectStore, prefix: str, name: str) -> pl.DataFrame:
    """Return the messages of an object, with the address of each (MESSAGE_ADDRESS)."""
    messages = pl.read_parquet(io.BytesIO(store.get_bytes(key_of(prefix, name))))
    addresses = pl.format("{}#{}", pl.lit(name), pl.int_range(pl.len())).alias(MESSAGE_ADDRESS)
    return messages.select(addresses, SENT, BODY)


def object_of(address: str) -> str:
    """Return the name of the object that holds the message with this address."""
    return address.partition("#")[0]


def time_of(name: str) -> datetime:
    """Return when an object was named."""
    return datetime.strptime(name.partition("-")[0], _TIME).replace(tzinfo=UTC)


def first_name(moment: datetime) -> str:
    """Return a text that sorts before the names of all objects that were named at ``moment`` or later."""
    return moment.astimezone(UTC).strftime(_TIME)


def list_names(
    store: ObjectStore, prefix: str, start: datetime | None = None, end: datetime | None = None
) -> Iterator[str]:
    """Yield the names of the objects from ``start`` on and before ``end``, in order, however many there are."""
    lower, upper = first_name(start) if start else "", first_name(end) if end else "~"
    for folder in _days(prefix, start, end) if start else [f"{prefix}/"]:
        for key in store.list_keys(folder):
            name = key.rpartition("/")[2].removesuffix(SUFFIX)
            if lower <= name < upper:
                yield name


def _days(prefix: str, start: datetime, end: datetime | None) -> Iterator[str]:
    """Yield the folder of each day until tomorrow, because not all clocks are the same."""
    day, last = start.astimezone(UTC).date(), ((end or datetime.now(UTC) + DAY).astimezone(UTC)).date()
    while day <= last:
        yield f"{prefix}/{day:%Y/%m/%d}/"
        day += DAY


def key_of(prefix: str, name: str) -> str:
    """Return the key of an object with messages."""
    return f"{prefix}/{time_of(name):%Y/%m/%d}/{name}{SUFFIX}"
