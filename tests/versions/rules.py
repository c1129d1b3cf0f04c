"""What a table must hold, computed row by row from docs/decisions/0009, 0010 and 0019 and docs/guarantees.md.

Nothing here is taken from the engine, neither its SQL nor its types. Rows are dictionaries; times are in UTC, without
zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

Row = dict[str, Any]
Key = tuple[Any, ...]
OPEN_END = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001 - UTC, as all times here
BEGINNING = datetime(1900, 1, 1)  # noqa: DTZ001 - the same
LEAST = timedelta(microseconds=1)
RECORDS_OF_A_KEY = 10_000
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Taken:
    """What one run gives to a table: ``gone`` are keys whose rows have left. ``number`` counts the runs."""

    number: int
    rows: Sequence[Row]
    gone: set[Key]
    read_at: datetime
    effective_at: datetime


@dataclass(frozen=True)
class Shape:
    """Of a table that keeps versions. ``dated_by``: the column that says since when a row is so; '' where none does."""

    keys: tuple[str, ...]
    columns: tuple[str, ...]
    dated_by: str = ""
    untracked: frozenset[str] = frozenset()
    gap: timedelta = LEAST
    tie_breaker: str = ""
    open_end: datetime | None = OPEN_END
    from_beginning: bool = False
    deletes_as_versions: bool = False

    def key_of(self, row: Row) -> Key:
        return tuple(row[name] for name in self.keys)

    def kept(self, row: Row) -> Row:
        """What the table holds of a row."""
        return {name: row[name] for name in self.columns}

    def tracked(self, row: Row) -> Row:
        """What makes a version."""
        others = {*self.keys, *self.untracked, self.dated_by}
        return {name: value for name, value in row.items() if name not in others}


@dataclass
class Version:
    """``gone``: when its key was deleted while it was valid, and with which values (``last``)."""

    start: datetime
    row: Row
    gone: datetime | None = None
    last: Row = field(default_factory=dict)


@dataclass(frozen=True)
class Held:
    """A version as a table shows it."""

    key: Key
    row: Row
    start: datetime
    end: datetime | None
    is_current: bool
    gone: datetime | None


class Rules(Protocol):
    """Of one table."""

    def take(self, taken: Taken) -> None:
        """One run more."""

    def present(self) -> dict[Key, Row]:
        """The row that each key has now; none of a key that is gone."""


class Versions(Rules, Protocol):
    """Of a table that keeps versions with the times they are valid in."""

    shape: Shape

    def versions(self) -> dict[Key, list[Version]]:
        """In order, by key."""


@dataclass
class States:
    """`Scd2`: of each key the row that was read last is true now."""

    shape: Shape
    _versions: dict[Key, list[Version]] = field(default_factory=dict)

    def take(self, taken: Taken) -> None:
        for row in taken.rows:
            self._put(row, taken)
        for key in taken.gone:
            self._close(key, taken.effective_at)

    def present(self) -> dict[Key, Row]:
        return {key: of_key[-1].row for key, of_key in self._versions.items() if of_key[-1].gone is None}

    def versions(self) -> dict[Key, list[Version]]:
        return self._versions

    def _put(self, row: Row, taken: Taken) -> None:
        of_key = self._versions.setdefault(self.shape.key_of(row), [])
        kept, stated = self.shape.kept(row), row[self.shape.dated_by] if self.shape.dated_by else None
        is_believed = stated is not None and stated <= taken.read_at
        if not of_key:
            unknown = BEGINNING if self.shape.dated_by and stated is None else taken.effective_at
            first = stated if is_believed else unknown
            of_key.append(Version(BEGINNING if self.shape.from_beginning else first, kept))
            return
        last = of_key[-1]
        if last.gone is None and self.shape.tracked(kept) == self.shape.tracked(last.row):
            last.row = kept
            return
        is_later = is_believed and stated > last.start and (last.gone is None or stated >= last.gone)
        at = stated if is_later else max(taken.effective_at, last.start, last.gone or last.start)
        if at == last.start:
            last.row, last.gone = kept, None
        else:
            of_key.append(Version(at, kept))

    def _close(self, key: Key, at: datetime) -> None:
        of_key = self._versions.get(key)
        if of_key and of_key[-1].gone is None:
            of_key[-1].gone = at if at > of_key[-1].start else of_key[-1].start + SECOND
            of_key[-1].last = of_key[-1].row


@dataclass(frozen=True)
class Event:
    """A row of a log, or a deletion (no row, but the ``last`` one). ``at``: since when; ``after``: the last deletion
    that had been seen."""

    at: datetime
    number: int
    row: Row | None = None
    last: Row = field(default_factory=dict)
    after: datetime | None = None
    stated: datetime | None = None


@dataclass
class Log:
    """`Scd2(changes=True)`: each row is for ever true of its time; versions are islands of equal content.
    ``is_keyed_by_source``: a key is one row of the source, so that a row which is as it was before is a correction."""

    shape: Shape
    is_keyed_by_source: bool = False
    _events: dict[Key, list[Event]] = field(default_factory=dict)

    def take(self, taken: Taken) -> None:
        for row in taken.rows:
            self._put(row, taken)
        present = self.present()
        for key in taken.gone & present.keys():
            last = max(event.at for event in self._events[key])
            at = taken.effective_at if taken.effective_at > last else last + SECOND
            self._events[key].append(Event(at, taken.number, last=present[key]))

    def present(self) -> dict[Key, Row]:
        versions = self.versions()
        return {key: of_key[-1].row for key, of_key in versions.items() if of_key[-1].gone is None}

    def versions(self) -> dict[Key, list[Version]]:
        return {key: list(self._islands(events)) for key, events in self._events.items()}

    def _put(self, row: Row, taken: Taken) -> None:
        events = self._events.setdefault(self.shape.key_of(row), [])
        stated = row[self.shape.dated_by]
        at = BEGINNING if stated is None else stated if stated <= taken.read_at else taken.effective_at
        after = max((event.at for event in events if event.row is None), default=None)
        same = [event for event in events if event.row and (event.after, event.stated) == (after, stated)]
        tells_last = self.is_keyed_by_source and not self.shape.tie_breaker
        known = [event.row for event in (same[-1:] if tells_last else same)]
        if row not in known:
            events.append(Event(at, taken.number, row, after=after, stated=stated))

    def _rank(self, event: Event) -> tuple[bool, Any]:
        """The greatest counts, of events of one time."""
        if not self.shape.tie_breaker:
            return True, event.number
        value = (event.row or {}).get(self.shape.tie_breaker)
        return value is not None, value if value is not None else 0

    def _placed(self, events: Iterable[Event]) -> dict[tuple[datetime, bool], Event]:
        """One event for each place; deletions stand before rows of the same time."""
        events, places = list(events), dict[tuple[datetime, bool], Event]()
        returns = {}
        for event in events:
            best = returns.get(event.after)
            if event.row is not None and (best is None or self._order(event) > self._order(best)):
                returns[event.after] = event
        for event in events:
            is_return = event.after is not None and returns[event.after] is event
            at = event.at
            if is_return and event.after and event.after >= at:
                at = event.after + LEAST if self.shape.deletes_as_versions else event.after
            place = (at, event.row is not None)
            if place not in places or self._rank(event) > self._rank(places[place]):
                places[place] = event
        return places

    def _order(self, event: Event) -> tuple[datetime, tuple[bool, Any]]:
        return event.at, self._rank(event)

    def _islands(self, events: Iterable[Event]) -> Iterator[Version]:
        placed, island = self._placed(events), None
        for (at, is_row), event in sorted(placed.items(), key=lambda one: one[0]):
            if not is_row or event.row is None:
                if island:
                    island.gone, island.last = at, event.last
                    yield island
                island = None
                continue
            kept = self.shape.kept(event.row)
            if island and self.shape.tracked(kept) == self.shape.tracked(island.row):
                island.row = kept
                continue
            if island:
                yield island
            is_first = event is placed[min(placed)]
            island = Version(min(at, BEGINNING) if is_first and self.shape.from_beginning else at, kept)
        if island:
            yield island


@dataclass
class Records:
    """`History`: every change of content is a further record, and so is a deletion."""

    keys: tuple[str, ...]
    _records: dict[Key, list[tuple[Row, bool]]] = field(default_factory=dict)

    def take(self, taken: Taken) -> None:
        for row in taken.rows:
            of_key = self._records.setdefault(tuple(row[name] for name in self.keys), [])
            if not of_key or of_key[-1] != (row, False):
                of_key.append((row, False))
        for key in taken.gone & self.present().keys():
            self._records[key].append((self._records[key][-1][0], True))

    def present(self) -> dict[Key, Row]:
        return {key: of_key[-1][0] for key, of_key in self._records.items() if not of_key[-1][1]}

    def records(self) -> Iterator[tuple[int, int, Row, bool]]:
        """Id, version, row, and whether it was deleted."""
        for (key,), of_key in self._records.items():
            for version, (row, is_deleted) in enumerate(of_key, 1):
                yield key * RECORDS_OF_A_KEY + version, version, row, is_deleted


@dataclass
class Rows:
    """`Merge` and `Append`: one row per key. ``keeps_first``: it stays as it came first."""

    keys: tuple[str, ...]
    is_hard: bool = False
    keeps_first: bool = False
    rows: dict[Key, tuple[Row, bool]] = field(default_factory=dict)

    def take(self, taken: Taken) -> None:
        for row in taken.rows:
            key = tuple(row[name] for name in self.keys)
            if not (self.keeps_first and key in self.rows):
                self.rows[key] = (row, False)
        for key in taken.gone & self.present().keys():
            if self.is_hard:
                del self.rows[key]
            else:
                self.rows[key] = (self.rows[key][0], True)

    def present(self) -> dict[Key, Row]:
        return {key: row for key, (row, is_deleted) in self.rows.items() if not is_deleted}


def followed(of_key: Sequence[Version]) -> Iterable[tuple[Version, Version | None]]:
    """Each version with the next one."""
    return zip(of_key, [*of_key[1:], None], strict=False)


def shown(rules: Versions) -> list[Held]:
    """Versions with their ends, and deletions where they are versions too."""
    return [held for key, of_key in rules.versions().items() for held in _with_ends(key, of_key, rules.shape)]


def _with_ends(key: Key, of_key: Sequence[Version], shape: Shape) -> Iterator[Held]:
    for version, successor in followed(of_key):
        following, tells = successor.start if successor else None, shape.deletes_as_versions
        until = version.gone or following
        gone = None if tells else version.gone
        yield Held(key, version.row, version.start, _end(version.start, until, shape), until is None, gone)
        if tells and version.gone:
            yield Held(key, version.last, version.gone, _end(version.gone, following, shape), False, version.gone)


def _end(start: datetime, until: datetime | None, shape: Shape) -> datetime | None:
    return max(start, until - shape.gap) if until else shape.open_end


def valid_at(of_key: Sequence[Version], moment: datetime) -> Version | None:
    """The version to which a fact of this time is bound."""
    for version, successor in followed(of_key):
        is_before = successor is None or moment < successor.start
        if version.start <= moment and is_before and (version.gone is None or moment < version.gone):
            return version
    return None
