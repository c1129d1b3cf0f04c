"""Keys in the messages of Postgres's output plugin pgoutput, decoded by column in Polars.

The format is that of "Logical Replication Message Formats" in Postgres's manual (protocol version 1). Only keys are
decoded: rows are read from the table (docs/decisions/0024-change-logs.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import polars as pl

BEGIN_OF_TIME_US = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970: Postgres counts from there."""
CHANGES = b"IUD"
_INSERT, _UPDATE, _DELETE, _TRUNCATE, _RELATION, _COMMIT = b"IUDTRC"
_NEW, _KEY_OF_OLD, _OLD = b"NKO"
(_TEXT,) = b"t"
_FIRST_TUPLE = 6
"""Where the first tuple of a change begins, after the message's kind, the relation's number and the tuple's kind."""


@dataclass(frozen=True)
class LoggedTable:
    """A table as a session of the log announces it before its first change."""

    number: int
    """Its number (OID) in the database."""
    columns: tuple[str, ...]
    """Its published columns, in the order of the values in tuples."""


@dataclass(frozen=True)
class DecodedBlock:
    """What a block of messages says."""

    commits: pl.DataFrame
    """Transactions that ended, in the order of their commits: ``xid``, ``end`` (LSN as a number), ``committed_at``."""
    keys: Mapping[int, pl.DataFrame]
    """Changed keys by number of the relation: ``xid``, ``is_deleted`` (the last change of the key was a delete), and
    the key's columns as text, named by ``name_keys``. Each key once."""
    truncated: pl.DataFrame
    """Relations that were truncated: ``xid``, ``relation``."""
    unreadable: pl.DataFrame
    """Relations of which a change does not carry its key: ``xid``, ``relation``."""


class KeyDecoder:
    """Decodes blocks of messages in the order of the log.

    ``keys`` are the columns of the key by number of the relation; changes of other relations are passed over.
    ``is_shown`` says whether the changes of a transaction (``xid``) count. Those that do not are left out before the
    changes of a key are folded into one: a later change that does not count must not hide an earlier one that does.
    """

    def __init__(self, keys: Mapping[int, Sequence[str]], is_shown: pl.Expr) -> None:
        self._keys, self._is_shown = keys, is_shown
        self._relations: dict[int, LoggedTable] = {}

    def decode(self, messages: pl.DataFrame) -> DecodedBlock:
        """Decode messages, of which ``xid`` is the transaction and ``data`` the bytes."""
        tagged = messages.with_row_index("sequence").with_columns(_byte(pl.lit(0)).alias("kind"))
        commits = _decode_commits(tagged.filter(pl.col("kind") == _COMMIT))
        truncated = _decode_truncates(tagged.filter(pl.col("kind") == _TRUNCATE, self._is_shown))
        changes = tagged.filter(pl.col("kind").is_in(list(CHANGES)), self._is_shown).with_columns(
            _number(pl.lit(1)).alias("relation")
        )
        found: dict[int, list[pl.DataFrame]] = {}
        for relation, of_relation in self._split(tagged, changes):
            found.setdefault(relation.number, []).append(_decode_keys(of_relation, relation, self._keys))
        folded = {number: _fold(frames, name_keys(self._keys[number])) for number, frames in found.items()}
        unreadable = [
            frame.filter(~pl.col("is_readable")).select("xid", pl.lit(number, pl.Int64).alias("relation"))
            for number, frame in folded.items()
        ]
        return DecodedBlock(
            commits,
            {number: frame.filter("is_readable").drop("is_readable") for number, frame in folded.items()},
            truncated,
            pl.concat(unreadable) if unreadable else truncated.clear(),
        )

    def _split(self, tagged: pl.DataFrame, changes: pl.DataFrame) -> list[tuple[LoggedTable, pl.DataFrame]]:
        """Split changes by relation, and by the form that the relation had: it is announced again when it changes."""
        parts = []
        announced = tagged.filter(pl.col("kind") == _RELATION).select("sequence", "data").rows()
        bounds = [(0, None), *announced]
        for (first, data), (after_last, _) in zip(bounds, [*announced, (tagged.height, b"")], strict=True):
            if data is not None:
                relation = _parse_relation(data)
                self._relations[relation.number] = relation
            within = changes.filter(pl.col("sequence").is_between(first, after_last, closed="left"))
            parts += [
                (self._relations[number], of_relation)
                for (number,), of_relation in within.partition_by("relation", as_dict=True).items()
                if number in self._keys
            ]
        return parts


def name_keys(keys: Sequence[str]) -> list[str]:
    """Return the names under which the columns of a key are carried, beside columns of other names."""
    return [f"key {position}" for position in range(len(keys))]


def _byte(offset: pl.Expr) -> pl.Expr:
    return pl.col("data").bin.slice(offset, 1).bin.reinterpret(dtype=pl.UInt8, endianness="big")


def _number(offset: pl.Expr, data_type: type[pl.DataType] = pl.Int32, size_bytes: int = 4) -> pl.Expr:
    part = pl.col("data").bin.slice(offset, size_bytes)
    return part.bin.reinterpret(dtype=data_type, endianness="big").cast(pl.Int64)


def _decode_commits(messages: pl.DataFrame) -> pl.DataFrame:
    committed_us = _number(pl.lit(18), pl.Int64, 8) + BEGIN_OF_TIME_US
    return messages.select(
        "xid",
        _number(pl.lit(10), pl.Int64, 8).alias("end"),
        committed_us.cast(pl.Datetime("us", "UTC")).alias("committed_at"),
    )


def _decode_truncates(messages: pl.DataFrame) -> pl.DataFrame:
    rows = [
        (xid, int.from_bytes(data[first : first + 4], "big"))
        for xid, data in messages.select("xid", "data").rows()
        for first in range(6, len(data), 4)
    ]
    return pl.DataFrame(rows, schema={"xid": pl.Int64, "relation": pl.Int64}, orient="row")


def _parse_relation(data: bytes) -> LoggedTable:
    """Parse the announcement of a relation: number, schema, name, identity, and for each column flags, name, type."""
    _, rest = data[5:].split(b"\0", 1)
    _, rest = rest.split(b"\0", 1)
    names, rest = [], rest[3:]
    while rest:
        name, rest = rest[1:].split(b"\0", 1)
        names.append(name.decode())
        rest = rest[8:]
    return LoggedTable(int.from_bytes(data[1:5], "big"), tuple(names))


def _decode_keys(changes: pl.DataFrame, relation: LoggedTable, keys: Mapping[int, Sequence[str]]) -> pl.DataFrame:
    """Return every key that a change of a relation names: of an update that changes it, the old one and the new one.

    Changes that were made when the table had not all columns of the key, under these names, are not readable.
    """
    names = name_keys(keys[relation.number])
    if not set(keys[relation.number]) <= set(relation.columns):
        return _without_keys(changes, names)
    wanted = [relation.columns.index(key) for key in keys[relation.number]]
    tagged = changes.with_columns(_byte(pl.lit(5)).alias("tuple"), pl.lit(_FIRST_TUPLE, pl.Int64).alias("at"))
    is_old = (pl.col("kind") == _UPDATE) & pl.col("tuple").is_in([_KEY_OF_OLD, _OLD])
    first, with_old = tagged, tagged.filter(is_old)
    named = [_decode_tuple(first, wanted, names, is_old | (pl.col("kind") == _DELETE))]
    if with_old.height:
        # The new tuple follows the whole old one, and the letter N.
        skipped = _walk(with_old, len(relation.columns), ()).with_columns(pl.col("at") + 1)
        named.append(_decode_tuple(skipped, wanted, names, pl.lit(False)))
    return pl.concat(named)


def _without_keys(changes: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    return changes.select(
        (pl.col("sequence").cast(pl.Int64) * 2).alias("order"),
        "xid",
        pl.lit(False).alias("is_deleted"),
        pl.lit(False).alias("is_readable"),
        *(pl.lit(None, pl.String).alias(name) for name in names),
    )


def _decode_tuple(
    changes: pl.DataFrame, wanted: Sequence[int], names: Sequence[str], is_deleted: pl.Expr
) -> pl.DataFrame:
    walked = _walk(changes, max(wanted) + 1, wanted)
    texts = [f"value {position}" for position in wanted]
    is_readable = pl.all_horizontal(pl.col(text).is_not_null() for text in texts)
    values = [pl.col(text).alias(name) for text, name in zip(texts, names, strict=True)]
    # An old tuple comes before the new one of the same change.
    order = (pl.col("sequence").cast(pl.Int64) * 2 + pl.col("at").gt(_FIRST_TUPLE).cast(pl.Int64)).alias("order")
    return walked.with_columns(pl.col("began").alias("at")).select(
        order, "xid", is_deleted.alias("is_deleted"), is_readable.alias("is_readable"), *values
    )


def _walk(changes: pl.DataFrame, columns: int, wanted: Sequence[int]) -> pl.DataFrame:
    """Move ``at`` over the first columns of the tuples, and keep the texts of the ``wanted`` ones."""
    begun = changes.with_columns(pl.col("at").alias("began"), pl.col("at") + 2)
    return reduce(lambda frame, position: _step(frame, position, position in wanted), range(columns), begun)


def _step(frame: pl.DataFrame, position: int, is_wanted: bool) -> pl.DataFrame:
    at = pl.col("at")
    measured = frame.with_columns(_byte(at).alias("value kind"))
    is_text = pl.col("value kind") == _TEXT
    measured = measured.with_columns(
        pl.when(is_text).then(_number(pl.when(is_text).then(at + 1).otherwise(0))).alias("length")
    )
    text = pl.col("data").bin.slice(at + 5, pl.col("length").fill_null(0)).cast(pl.String)
    kept = [pl.when(is_text).then(text).alias(f"value {position}")] if is_wanted else []
    return measured.with_columns(*kept, at + 1 + (pl.col("length") + 4).fill_null(0))


def _fold(frames: Sequence[pl.DataFrame], names: Sequence[str]) -> pl.DataFrame:
    """Keep the last change of each key."""
    ordered = pl.concat(frames).sort("order")
    return ordered.unique(["is_readable", *names], keep="last", maintain_order=True).drop("order")
