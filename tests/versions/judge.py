"""Whether the tables of a warehouse are what the rules say, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.versions.rules import Held, Key, Records, Rows, Versions, followed, shown, valid_at

Query = Callable[[str], list[tuple[Any, ...]]]
Fact = tuple[Any, ...]


class Difference(Exception):
    """A table is not what it must be."""


@dataclass
class Judge:
    """Of one history. ``surrogates``: those that were seen, by table, key and start: they never move."""

    query: Query
    surrogates: dict[tuple[str, Key, datetime], int] = field(default_factory=dict)

    def versions(self, table: str, surrogate: str, start: str, rules: Versions) -> dict[int, tuple[Key, datetime]]:
        """Which version each surrogate key is. Raises Difference."""
        keys, columns = rules.shape.keys, rules.shape.columns
        own = (surrogate, start, "end_date", "is_current", "_deleted_at")
        rows = self._rows(table, [*own, *columns])
        expected = [_as_tuple(held, columns) for held in shown(rules)]
        compare(table, [row[1:] for row in rows], expected)
        found = {}
        for number, begun, *rest in rows:
            key = tuple(dict(zip(columns, rest[3:], strict=True))[name] for name in keys)
            found[number] = (key, begun)
            if self.surrogates.setdefault((table, key, begun), number) != number:
                raise Difference(f"{table}: the surrogate key of {key} from {begun} has moved")
        if len(found) != len(rows):
            raise Difference(f"{table}: two versions have one surrogate key")
        current = Counter(found[row[0]][0] for row in rows if row[3])
        if any(number > 1 for number in current.values()):
            raise Difference(f"{table}: a key has two versions that are current: {current}")
        return found

    def moments(self, view: str, rules: Versions) -> None:
        """Each version half-open, whatever its gap. Raises Difference."""
        keys, shape = rules.shape.keys, rules.shape
        found = self._rows(view, [*keys, "valid_from", "valid_until"])
        if shape.deletes_as_versions:
            deleted = self._rows(view, [*keys, "valid_from", "_deleted_at"])
            gone = {row[:-1] for row in deleted if row[-1] is not None}
            found = [row for row in found if row[:-1] not in gone]
        expected = [
            (*key, version.start, version.gone or (successor.start if successor else None))
            for key, of_key in rules.versions().items()
            for version, successor in followed(of_key)
        ]
        compare(view, found, expected)

    def records(self, table: str, record_id: str, columns: Sequence[str], rules: Records) -> None:
        """Of a history. Raises Difference."""
        rows = self._rows(table, [record_id, "_version", *columns, "_deleted_at"])
        found = [(*row[:-1], row[-1] is not None) for row in rows]
        expected = [
            (number, version, *(row[name] for name in columns), is_deleted)
            for number, version, row, is_deleted in rules.records()
        ]
        compare(table, found, expected)

    def rows(self, table: str, columns: Sequence[str], rules: Rows, *, marks: bool) -> None:
        """Of a table with one row per key. Raises Difference."""
        found = self._rows(table, [*columns, *(["_deleted_at"] if marks else [])])
        if marks:
            found = [(*row[:-1], row[-1] is not None) for row in found]
        expected = [
            (*(row[name] for name in columns), *([is_deleted] if marks else []))
            for row, is_deleted in rules.rows.values()
        ]
        compare(table, found, expected)

    def _rows(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        chosen = ", ".join(f'"{name}"' for name in columns)
        return [tuple(map(plain, row)) for row in self.query(f"SELECT {chosen} FROM {table}")]

    def binds(
        self,
        table: str,
        column: str,
        by: Sequence[str],
        versions: Versions,
        starts: dict[int, tuple[Key, datetime]],
        facts: Rows,
        unknown: int | None,
    ) -> None:
        """The version that each fact is bound to; ``unknown`` where there is none. Raises Difference."""
        bound = {number: starts.get(surrogate, surrogate) for number, surrogate in self._rows(table, ["sale", column])}
        of_keys, expected = versions.versions(), {}
        for row, _ in facts.rows.values():
            key, at = tuple(row[name] for name in by), plain(row["at"])
            valid = valid_at(of_keys.get(key, []), at) if at is not None and None not in key else None
            expected[row["sale"]] = (key, valid.start) if valid else unknown
        compare(f"{table}.{column}", bound.items(), expected.items())


def plain(value: Any) -> Any:
    """A time in UTC and without zone; everything else as it is."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value


def compare(table: str, found: Iterable[Any], expected: Iterable[Any]) -> None:
    """Raises Difference unless both hold the same rows, in any order."""
    held, wanted = Counter(tuple(map(plain, row)) for row in found), Counter(tuple(map(plain, row)) for row in expected)
    if held == wanted:
        return
    lines = [f"{table} holds what it must not: {row}" for row in sorted(held - wanted, key=repr)]
    lines += [f"{table} must hold: {row}" for row in sorted(wanted - held, key=repr)]
    raise Difference("\n".join(lines))


def _as_tuple(held: Held, columns: Sequence[str]) -> tuple[Any, ...]:
    return (held.start, held.end, held.is_current, held.gone, *(held.row[name] for name in columns))
