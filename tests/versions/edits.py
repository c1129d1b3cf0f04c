"""What may happen at the source between two runs. Every edit is chosen by its dice alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from tests.versions.models import TOO_DEAR, UNKNOWN_LABEL
from tests.versions.rules import Key, Row
from tests.versions.setting import KINDS, KeyKind, Setting, moment
from tests.versions.source import SourceTable, now

SQL_TYPES = {"text": "text", "int": "int", "date": "date"}
POOL = 8
"""Keys of items, of which each has rows now and then."""
TEXTS = ("", "a", "a b", "a  b", " Größe", "größe", "länger als die anderen", "0", "NULL", "ß" * 60, "x" * 150)
CODES = ("", "one", "two words", "drei Wörter und länger")
DAYS = tuple(datetime(2024, 3, day) for day in (1, 2, 3))  # noqa: DTZ001 - UTC, as all times here
NEAR = (
    timedelta(0), timedelta(0), timedelta(microseconds=-1), timedelta(milliseconds=1), timedelta(seconds=-0.5),
    timedelta(seconds=-1), timedelta(seconds=1), timedelta(hours=1),
)  # fmt: skip


@dataclass
class Tables:
    """Of one history. ``pool`` are the keys that items may have; ``moments``, by key, are those near which facts
    happen; ``deleted`` are items that may come again."""

    setting: Setting
    pool: Sequence[Key]
    items: SourceTable
    looks: SourceTable
    log: SourceTable
    sales: SourceTable
    moments: dict[Key, list[datetime]] = field(default_factory=dict)
    deleted: dict[Key, Row] = field(default_factory=dict)
    numbers: int = 0

    @property
    def all(self) -> tuple[SourceTable, ...]:
        return (self.items, self.looks, self.log, self.sales)

    def next_number(self) -> int:
        """Never given before."""
        self.numbers += 1
        return self.numbers


def tables_of(setting: Setting, name: str, dice: Random) -> Tables:
    """Empty ones."""
    keys = {column: SQL_TYPES[kind] for column, kind in zip(setting.key_columns, setting.key, strict=True)}
    items = keys | {
        "number": "int", "price": "int", "note": "text", "kind": "text NOT NULL", "look": "int", "since": "timestamp",
        "changed": "timestamptz",
    }  # fmt: skip
    looks = {"look": "int", "label": "text", "changed": "timestamptz"}
    log = {
        "number": "int", "code": "text NOT NULL", "price": "int", "note": "text", "seq": "int", "since": "timestamp",
        "changed": "timestamptz",
    }  # fmt: skip
    at = "timestamptz" if setting.sales and setting.sales.has_zone else "timestamp"
    sales = {"sale": "int", **keys, "code": "text", "amount": "int", "at": at, "changed": "timestamptz"}
    return Tables(
        setting,
        _pool(setting.key, dice),
        SourceTable(f"items_{name}", setting.key_columns, items),
        SourceTable(f"looks_{name}", ("look",), looks),
        SourceTable(f"log_{name}", ("number",), log),
        SourceTable(f"sales_{name}", ("sale",), sales),
    )


def _pool(kinds: Sequence[KeyKind], dice: Random) -> list[Key]:
    values: dict[KeyKind, Callable[[], Any]] = {
        "text": lambda: dice.choice(TEXTS),
        "int": lambda: dice.choice((0, 1, -7, 12, 2_000_000_000)) + dice.randint(0, 3),
        "date": lambda: date(2024, 1, 1) + timedelta(dice.randint(-40_000, 40_000)),
    }
    keys: dict[Key, None] = {}
    while len(keys) < POOL:
        keys[tuple(values[kind]() for kind in kinds)] = None
    return list(keys)


def begin(tables: Tables, dice: Random) -> None:
    """The first rows of every table. The first item stays, and is good, so that no read finds bad rows alone."""
    tables.items.put({**_item(tables, tables.pool[0], dice), "price": 1, "kind": KINDS[0]})
    for key in tables.pool[1 : dice.randint(3, POOL)]:
        tables.items.put(_item(tables, key, dice))
    for look in (1, 2):
        tables.looks.put({"look": look, "label": f"label {look}"})
    for edit in (log_row, log_row, sale):
        edit(tables, dice)


def item(tables: Tables, dice: Random) -> str:
    """An item that is there is changed, loudly or silently; its time moves or not."""
    rows = tables.items.rows
    key = dice.choice([key for key in rows if key != tables.pool[0]] or [tables.pool[0]])
    changed, is_silent = dict(rows[key]), dice.random() < 0.25
    for name in dice.sample(("price", "note", "kind", "look", "since"), dice.randint(1, 3)):
        changed[name] = _item(tables, key, dice)[name]
    if key == tables.pool[0]:
        changed |= {"price": abs(changed["price"] or 1) % TOO_DEAR, "kind": KINDS[0]}
    tables.items.put(changed, is_silent=is_silent)
    return f"{key} {'silently' if is_silent else ''} {_without_key(tables, changed)}"


def new_item(tables: Tables, dice: Random) -> str:
    """A key that is not there comes, or comes again, perhaps as it was."""
    if tables.deleted and dice.random() < 0.7:
        key = dice.choice(list(tables.deleted))
        row = tables.deleted.pop(key) if dice.random() < 0.5 else _item(tables, key, dice)
    else:
        free = [key for key in tables.pool if key not in tables.items.rows]
        if not free:
            return "none"
        row = _item(tables, dice.choice(free), dice)
    key = tables.items.key_of(row)
    tables.deleted.pop(key, None)
    tables.items.put(row)
    return f"{key} {_without_key(tables, row)}"


def delete_item(tables: Tables, dice: Random) -> str:
    """And perhaps it comes again at once."""
    there = [key for key in tables.items.rows if key != tables.pool[0]]
    if not there:
        return "none"
    key = dice.choice(there)
    row = tables.items.rows[key]
    tables.items.delete(key)
    if dice.random() < 0.8:
        tables.deleted[key] = {**row, "number": tables.next_number()}
    else:
        tables.items.put({**row, "number": tables.next_number()})
        return f"{key} and back"
    return f"{key}"


def move_item(tables: Tables, dice: Random) -> str:
    """Another key, or another number."""
    there = [key for key in tables.items.rows if key != tables.pool[0]]
    free = [key for key in tables.pool if key not in tables.items.rows]
    if not there:
        return "none"
    key = dice.choice(there)
    row = tables.items.rows[key]
    if not free or dice.random() < 0.5:
        tables.items.put({**row, "number": tables.next_number()})
        return f"{key} has another number"
    other = dice.choice(free)
    tables.items.delete(key)
    # A snapshot that rejects rows shows models the former row as well, and two with one number are refused.
    number = tables.next_number() if tables.setting.has_contract else row["number"]
    tables.items.put({**row, "number": number, **dict(zip(tables.items.keys, other, strict=True))})
    tables.deleted.pop(other, None)
    return f"{key} -> {other}"


def look(tables: Tables, dice: Random) -> str:
    """A row that others look up."""
    number = dice.randint(1, 3)
    labels = [None, "", "label", f"label {dice.randint(1, 9)}"]
    if tables.setting.has_look_contract and number != 1:
        labels += [UNKNOWN_LABEL, UNKNOWN_LABEL]
    if number != 1 and (number,) in tables.looks.rows and dice.random() < 0.3:
        tables.looks.delete((number,))
        return f"{number} deleted"
    tables.looks.put({"look": number, "label": dice.choice(labels)})
    return str(number)


def log_row(tables: Tables, dice: Random) -> str:
    """A row of the log; where nothing breaks ties, none of the time of another of this run."""
    row: Row = {
        "number": tables.next_number(), "code": dice.choice(CODES), "price": dice.choice((None, 1, 2)),
        "note": dice.choice(("", "n", "m")), "seq": dice.choice((-1, 1)) * tables.numbers,
        "since": moment(dice, now()),
    }  # fmt: skip
    fresh = [tables.log.rows[key] for key in tables.log.loud]
    is_tied = any((one["code"], one["since"]) == (row["code"], row["since"]) for one in fresh)
    if is_tied and tables.setting.rate and not tables.setting.rate.has_tie_breaker:
        return "none"
    tables.log.put(row)
    return str(row)


def sale(tables: Tables, dice: Random) -> str:
    """Three facts, new or changed, at times near those at which versions begin or end."""
    rows = [_sale(tables, dice) for _ in range(3)]
    for row in rows:
        tables.sales.put(row)
    return str(rows)


def _sale(tables: Tables, dice: Random) -> Row:
    there = list(tables.sales.rows)
    number = dice.choice(there)[0] if there and dice.random() < 0.25 else tables.next_number()
    key: Key = dice.choice(tables.pool)
    if dice.random() < 0.1:
        key = tuple(None for _ in key)
    code = dice.choice((None, *CODES))
    moments = [*DAYS, *tables.moments.get(key, []), *tables.moments.get((code,), [])]
    near = dice.choice(moments) + dice.choice(NEAR)
    at = dice.choice((near, near, near, now(), None))
    if at and tables.setting.sales and tables.setting.sales.has_zone:
        at = at.replace(tzinfo=UTC)
    return dict(zip(tables.items.keys, key, strict=True)) | {
        "sale": number, "code": code, "amount": dice.randint(1, 3), "at": at,
    }  # fmt: skip


def delete_sale(tables: Tables, dice: Random) -> str:
    """Of those that are there."""
    if not tables.sales.rows:
        return "none"
    key = dice.choice(list(tables.sales.rows))
    tables.sales.delete(key)
    return str(key)


def _item(tables: Tables, key: Key, dice: Random) -> Row:
    is_bad = tables.setting.has_contract and dice.random() < 0.1
    price = TOO_DEAR if is_bad else dice.choice((None, 1, 2, 2, -1))
    held = tables.items.rows.get(key)
    return dict(zip(tables.items.keys, key, strict=True)) | {
        "number": held["number"] if held else tables.next_number(), "price": price,
        "note": dice.choice((None, "", "n", "ü" * 30)), "kind": dice.choice(KINDS),
        "look": dice.choice((None, 1, 2, 3)), "since": moment(dice, now()),
    }  # fmt: skip


def _without_key(tables: Tables, row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in {*tables.items.keys, "changed"}}


Edit = Callable[[Tables, Random], str]


def edits_of(setting: Setting, dice: Random) -> list[Edit]:
    """What happens between two runs, of that which concerns a history. Items come, or go, or both, so that what is gone
    in one run comes again in a later one."""
    unused: set[Edit] = {dice.choice((new_item, delete_item, move_item))}
    unused |= set() if setting.looks_up else {look}
    unused |= set() if setting.rate else {log_row}
    unused |= set() if setting.sales else {sale, delete_sale}
    used = {edit: weight for edit, weight in WEIGHTS.items() if edit not in unused}
    return dice.choices([*used], [*used.values()], k=dice.randint(8, 20))


WEIGHTS: dict[Edit, int] = {
    item: 8, new_item: 4, delete_item: 4, move_item: 1, look: 2, log_row: 4, sale: 4, delete_sale: 1,
}  # fmt: skip
