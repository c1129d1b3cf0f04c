"""What the models of a history must give, row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.versions.capture import Reading
from tests.versions.rules import OPEN_END, Key, Log, Records, Row, Rows, Rules, Shape, States, Taken
from tests.versions.setting import Sales, Setting, Table

PICKED = ("kind", "look")
"""What the model that stands between items and others has besides."""
UNKNOWN_LABEL = "?"
"""A label that the contract of looks does not allow."""
TOO_DEAR = 5_000
"""A price that the contract of items does not allow."""


def renamed(table: Table, key: str) -> str:
    """A key column of items, as the model calls it."""
    return f"own_{key}" if table.is_renamed else key


@dataclass(frozen=True)
class Times:
    """Of a run, as a model's batch has them."""

    number: int
    read_at: datetime
    effective_at: datetime


@dataclass
class ModelOracle:
    """One model over one root. ``root_columns`` hold the root's key; none where rows never leave by it."""

    rules: Rules
    keys: tuple[str, ...]
    compute: Callable[[Row, Mapping[int, str]], Row | None]
    root_columns: tuple[str, ...]
    root_keys: tuple[str, ...]
    keeps_rows: bool = False
    is_bad: Callable[[Row], bool] = lambda row: False

    def take(self, reading: Reading, is_snapshot: bool, labels: Mapping[int, str], times: Times) -> None:
        """What a run makes of what was read of the root."""
        pairs = [(row, self.compute(row, labels)) for row in (*reading.rows, *reading.former)]
        given = [row for _, row in pairs if row is not None and not self.is_bad(row)]
        bad = {self._root_of(source) for source, row in pairs if row is not None and self.is_bad(row)}
        gone: set[Key] = set()
        if not self.keeps_rows:
            gone = (
                self._lacking(given, is_complete=reading.is_complete and not bad)
                if is_snapshot
                else self._left(reading, given, bad)
            )
        self.rules.take(Taken(times.number, given, gone, times.read_at, times.effective_at))

    def _root_of(self, source: Row) -> Key:
        return tuple(source[name] for name in self.root_keys)

    def _lacking(self, given: Sequence[Row], *, is_complete: bool) -> set[Key]:
        """Keys that are not among all rows."""
        return set(self.rules.present()) - self._keys_of(given) if is_complete else set()

    def _left(self, reading: Reading, given: Sequence[Row], bad: set[Key]) -> set[Key]:
        """Keys of rows that a source row made before, and makes no more."""
        read = ({self._root_of(row) for row in reading.rows} | reading.gone) - bad
        held = self.rules.present().items() if self.root_columns else ()
        made = {key for key, row in held if tuple(row[name] for name in self.root_columns) in read}
        return made - self._keys_of(given)

    def _keys_of(self, rows: Sequence[Row]) -> set[Key]:
        return {tuple(row[name] for name in self.keys) for row in rows}


def columns_of(setting: Setting, table: Table) -> tuple[str, ...]:
    """Of a model of items; without the time, which its start holds."""
    keys = tuple(renamed(table, name) for name in setting.key_columns)
    further = PICKED if table.name == "picked" else ("label",) if table.looks_up else ()
    return (*keys, "number", "price", "note", *further)


def oracle_of(setting: Setting, table: Table) -> ModelOracle:
    """Of a model of items."""
    own = tuple(renamed(table, name) for name in setting.key_columns)
    keys = ("number",) if table.by_number else own
    columns = columns_of(setting, table)

    def compute(row: Row, labels: Mapping[int, str]) -> Row | None:
        if table.kinds and row["kind"] not in table.kinds:
            return None
        made = {renamed(table, name): row[name] for name in setting.key_columns}
        made |= {name: row[name] for name in ("number", "price", "note", *(PICKED if table.name == "picked" else ()))}
        made |= {"label": labels.get(row["look"])} if table.looks_up else {}
        return made | ({"since": row["since"]} if table.is_dated else {})

    return ModelOracle(
        _rules(table, keys, columns),
        keys,
        compute,
        root_columns=own,
        root_keys=setting.key_columns,
        keeps_rows=table.deletes == "ignore",
        is_bad=lambda row: table.is_strict and row["price"] is not None and row["price"] < 0,
    )


def _rules(table: Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> Rules:
    since = "since" if table.is_dated else ""
    shape = Shape(
        keys,
        columns,
        since,
        frozenset(table.untracked),
        table.gap,
        "seq" if table.has_tie_breaker else "",
        open_end=None if table.is_end_null else OPEN_END,
        from_beginning=table.from_beginning,
        deletes_as_versions=table.deletes_as_versions,
    )
    match table.mode:
        case "states":
            return States(shape)
        case "changes":
            return Log(shape, is_keyed_by_source=table.name != "rate")
        case "history":
            return Records(keys)
        case "merge":
            return Rows(keys, is_hard=table.deletes == "hard")


def rate_of(table: Table) -> ModelOracle:
    """Of the log, whose rows never leave."""
    names = ("code", "price", "note", "seq")
    rules = _rules(table, ("code",), names)
    return ModelOracle(
        rules, ("code",), lambda row, labels: {name: row[name] for name in (*names, "since")}, (), ("number",)
    )


def stream_of(setting: Setting) -> States:
    """Of items themselves, where they keep versions; there the time is a column as well."""
    since = "since" if setting.is_stream_dated else ""
    columns = (*setting.key_columns, *ITEM_COLUMNS)
    untracked = {"changed", *setting.stream_untracked, *(() if since else ("since",))}
    return States(Shape(setting.key_columns, columns, since, frozenset(untracked)))


def sold_of(setting: Setting, sales: Sales) -> ModelOracle:
    """Of the facts, without what they are bound to."""
    names = ("sale", *setting.key_columns, "code", "amount", "at")
    rules = Rows(("sale",), is_hard=sales.deletes == "hard", keeps_first=sales.is_appended)
    return ModelOracle(
        rules,
        ("sale",),
        lambda row, labels: {name: row[name] for name in names},
        root_columns=("sale",),
        root_keys=("sale",),
        keeps_rows=sales.is_appended,
    )


ITEM_COLUMNS = ("number", "price", "note", "kind", "look", "since", "changed")
"""Beside the key."""
