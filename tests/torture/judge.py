"""What must hold after every step: which rows the target must have now, which may be as they were, and a ledger that
adds up.

A row of the source is *good*, or *bad* (its values have no place in the target, or break the contract: then the target
keeps what it had of it), and may be *unseen*: changed so that no window need notice it (a silent update, a delete, a
column with a default). A window owes every good row that is not unseen, a sweep owes all, a replay owes what was
rejected and is good now. A full read owes every good row, and a reload also leaves no other row in the target.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal

from millrace.declaration.captures import DeletePolicy
from tests.torture.values import Key, Row, comparable
from tests.torture.warehouse import Held, Line

Kind = Literal["window", "sweep", "replay", "full", "reload"]


@dataclass(frozen=True)
class Truth:
    """The source when a batch was read, and what was known of its keys then."""

    rows: dict[Key, Row]
    unseen: frozenset[Key]
    rejected: frozenset[Key]


class Divergence(AssertionError):
    """Source and target are not what they should be to each other; the keys by what is wrong with them."""

    def __init__(self, problem: str, lost: Set[Key] = frozenset(), doubled: Set[Key] = frozenset()) -> None:
        super().__init__(problem)
        self.lost, self.doubled = len(lost), len(doubled)


@dataclass(frozen=True)
class Judge:
    """``is_bad`` knows the rows that must be rejected."""

    is_bad: Callable[[Row], bool]
    deletes: DeletePolicy

    def check_unchanged(self, before: Held, after: Held) -> None:
        """Nothing was applied: not one row is another one."""
        self._check_once(after)
        changed = {key for key in {*before.rows, *after.rows} if not self._as_it_was(key, before, after)}
        if changed:
            raise Divergence(f"nothing was applied, and rows changed: {_some(changed)}")

    def check_applied(self, kind: Kind, truth: Truth, before: Held, after: Held, free: Set[Key] = frozenset()) -> None:
        """A batch of this truth was applied. ``free``: keys that were written meanwhile."""
        self._check_once(after)
        lost, wrong = set(), set()
        for key in {*truth.rows, *before.rows, *after.rows} - free:
            row = truth.rows.get(key)
            if kind == "reload" and (row is None or self.is_bad(row)):
                wrong |= {key} & after.rows.keys()
            elif row is None:
                wrong |= set() if self._is_gone(kind, key, truth, before, after) else {key}
            elif self.is_bad(row) or not self._is_owed(kind, key, truth):
                delivered = not self.is_bad(row) and kind == "window" and self.is_delivered(key, row, after)
                wrong |= set() if delivered or self._as_it_was(key, before, after) else {key}
            elif not self.is_delivered(key, row, after):
                lost.add(key)
        if lost or wrong:
            shown = "; ".join(_difference(key, truth.rows.get(key), after) for key in sorted(lost, key=repr)[:3])
            raise Divergence(f"after a {kind}: lost {_some(lost)} {shown}; wrong {_some(wrong)}", lost)

    def check_not_rewritten(self, before: Held, after: Held) -> None:
        """A row that is what it was is the one that was loaded then, and not a copy of it."""
        same = {key for key in before.rows.keys() & after.rows.keys() if self._as_it_was(key, before, after)}
        rewritten = {key for key in same if before.loaded_at[key] != after.loaded_at[key]}
        if rewritten:
            raise Divergence(f"loaded again, and nothing had changed: {_some(rewritten)}")

    def check_rejects(self, kind: Kind, truth: Truth, reported: Set[Key], free: Set[Key]) -> None:
        """Bad rows are reported, good ones are not."""
        bad = {key for key, row in truth.rows.items() if self.is_bad(row)} - free
        wanted = {"window": bad - truth.unseen - truth.rejected, "replay": bad & truth.rejected}.get(kind, bad)
        allowed = bad if kind == "window" else wanted
        if not wanted <= reported | free or not reported - free <= allowed:
            raise Divergence(f"a {kind} rejected {_some(reported)}, wanted {_some(wanted)} of {_some(bad)}")

    def is_delivered(self, key: Key, row: Row, held: Held) -> bool:
        """The target has this row with these values, and NULL in what the row has no value for."""
        mine = held.rows.get(key)
        if mine is None or key in held.marked:
            return False
        by_column = {held.columns.get(path): value for path, value in row.items()}
        unplaced = [path for path, value in row.items() if value is not None and path not in held.columns]
        return not unplaced and all(
            comparable(value, by_column.get(name)) == comparable(by_column.get(name)) for name, value in mine.items()
        )

    def check_ledger(self, lines: list[Line], open_rejects: int) -> None:
        """Counts add up, no batch is there twice, positions never go back."""
        if len({line.batch_id for line in lines}) != len(lines):
            raise Divergence("a batch is in the ledger twice")
        for line in lines:
            if line.counts[0] != sum(line.counts[1:]) or min(line.counts) < 0:
                raise Divergence(f"counts do not add up: {line.counts}")
        for entries in _split_by_resets(lines):
            positions = [datetime.fromisoformat(line.position) for line in entries if line.position is not None]
            if any(later < earlier for earlier, later in pairwise(positions)):
                raise Divergence("the position went back")
        if sum(line.open_rejects for line in lines) != open_rejects:
            raise Divergence(f"{sum(line.open_rejects for line in lines)} rejects are open, {open_rejects} should be")

    def _is_owed(self, kind: Kind, key: Key, truth: Truth) -> bool:
        if kind == "window":
            return key not in truth.unseen
        return kind != "replay" or key in truth.rejected

    def _is_gone(self, kind: Kind, key: Key, truth: Truth, before: Held, after: Held) -> bool:
        """Whether a key that the source has not is what it should be in the target."""
        if kind != "sweep" or self.deletes == "ignore":
            return self._as_it_was(key, before, after)
        if self.deletes == "hard":
            return key not in after.rows
        return (key in after.marked) == (key in before.rows) and _values(key, before) == _values(key, after)

    def _as_it_was(self, key: Key, before: Held, after: Held) -> bool:
        return (key in before.marked) == (key in after.marked) and _values(key, before) == _values(key, after)

    def _check_once(self, held: Held) -> None:
        if held.doubled:
            raise Divergence(f"held more than once: {_some(set(held.doubled))}", doubled=set(held.doubled))


def _split_by_resets(lines: list[Line]) -> list[list[Line]]:
    """The entries between resets: a reset sets the position anywhere."""
    parts: list[list[Line]] = [[]]
    for line in lines:
        parts += [[]] if line.kind == "reset" else []
        parts[-1].append(line)
    return parts


def _values(key: Key, held: Held) -> Row | None:
    """Without what is NULL: a column may have been added, or have become wider."""
    row = held.rows.get(key)
    return row and {name: comparable(value) for name, value in row.items() if value is not None}


def _difference(key: Key, row: Row | None, held: Held) -> str:
    mine = held.rows.get(key)
    if row is None or mine is None:
        return f"{key} is absent"
    pairs = {path: (value, mine.get(held.columns.get(path, ""))) for path, value in row.items()}
    other = {
        path: f"{value!r:.60} is {theirs!r:.60}"
        for path, (value, theirs) in pairs.items()
        if comparable(theirs, value) != comparable(value)
    }
    return f"{key}: {other}"


def _some(keys: Set[Key]) -> str:
    return f"{len(keys)} ({', '.join(sorted(map(repr, keys))[:5])})" if keys else "none"
