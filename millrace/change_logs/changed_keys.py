"""The changed keys of a log, block by block, in memory that grows with the number of keys and not of changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl

from millrace.change_logs.pgoutput import DecodedBlock, name_keys
from millrace.change_logs.visibility import VisibleTransactions

COMMITS = pl.Schema({"xid": pl.Int64(), "end": pl.Int64(), "committed_at": pl.Datetime("us", "UTC")})
"""Columns of the transactions that a block tells the end of."""
FOLDED_ROWS = 500_000
"""As soon as so many keys of a table are waiting, each is kept once."""


class ChangedKeys:
    """What the transactions changed that a snapshot shows. ``add`` the blocks of the log in their order.

    ``key_columns`` are the columns of the key by number of the relation. Transactions that the snapshot does not show
    are left for the next read.
    """

    def __init__(self, key_columns: Mapping[int, Sequence[str]], visible: VisibleTransactions) -> None:
        self._key_columns, self._visible = key_columns, visible
        self._commits: list[pl.DataFrame] = []
        self._keys: dict[int, list[pl.DataFrame]] = {}
        self._waiting: dict[int, int] = {}
        self._gaps: list[tuple[int, int, str]] = []

    def add(self, block: DecodedBlock) -> None:
        """Add what a block says."""
        self._commits.append(block.commits)
        for relation, keys in block.keys.items():
            self._keys.setdefault(relation, []).append(keys)
            self._waiting[relation] = self._waiting.get(relation, 0) + keys.height
            if self._waiting[relation] >= FOLDED_ROWS:
                self._keys[relation], self._waiting[relation] = [self._fold(relation)], 0
        for frame, reason in ((block.truncated, "it was truncated"), (block.unreadable, "a change came without key")):
            self._gaps += [(xid, relation, reason) for xid, relation in frame.select("xid", "relation").rows()]

    def find_position(self, lower: int, end: int) -> int:
        """Return the end of the last transaction before the first one that the snapshot does not show.

        ``lower`` is where the log began, ``end`` where it was read up to: there, if the snapshot shows all.
        """
        commits = self._all_commits()
        hidden = commits.filter(~self._visible.shows(pl.col("xid")))["end"].min()
        if hidden is None:
            return end
        before = commits.filter(pl.col("end") < hidden)["end"].max()
        return lower if before is None else int(before)  # type: ignore[arg-type] # a maximum of numbers is a number

    def find_newest_commit(self, position: int) -> datetime | None:
        """Return when the newest transaction up to a position was committed; None: there is none."""
        newest = self._all_commits().filter(pl.col("end") <= position)["committed_at"].max()
        return newest if isinstance(newest, datetime) else None

    def find_gap(self, relation: int, after: int) -> str:
        """Return why the changed keys of a relation are not all that changed after a position; '': they are."""
        of_relation = {xid: reason for xid, number, reason in self._gaps if number == relation}
        commits = self._all_commits().filter(pl.col("xid").is_in(list(of_relation)), pl.col("end") > after)
        return next((of_relation[xid] for xid in commits["xid"]), "")

    def of(self, relation: int, after: int) -> pl.DataFrame:
        """Return the keys of a relation that transactions changed which ended after a position.

        Each key comes once, with ``is_deleted`` (its last change was a delete) and ``committed_at``.
        """
        names = name_keys(self._key_columns[relation])
        if relation not in self._keys:
            return pl.DataFrame(
                schema=pl.Schema(
                    {
                        "is_deleted": pl.Boolean(),
                        "committed_at": COMMITS["committed_at"],
                        **dict.fromkeys(names, pl.String()),
                    }
                )
            )
        ends = self._all_commits()
        found = self._fold(relation).join(ends, on="xid", how="left").filter(pl.col("end") > after)
        return found.select("is_deleted", "committed_at", *names)

    def _fold(self, relation: int) -> pl.DataFrame:
        names = name_keys(self._key_columns[relation])
        return pl.concat(self._keys[relation]).unique(list(names), keep="last", maintain_order=True)

    def _all_commits(self) -> pl.DataFrame:
        if len(self._commits) != 1:
            self._commits = [pl.concat([pl.DataFrame(schema=COMMITS), *self._commits])]
        return self._commits[0]
