"""What a history declares, chosen at random: how its streams are captured and which tables are computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Literal

KeyKind = Literal["text", "int", "date"]
ModeKind = Literal["states", "changes", "history", "merge"]
Capture = Literal["snapshot", "swept", "mixed"]
GAPS = (timedelta(0), timedelta(microseconds=1), timedelta(milliseconds=1), timedelta(seconds=1), timedelta(days=1))
KINDS = ("a", "b", "c")
"""Of items; that of the first item is always the first one, so that a filter leaves something."""


@dataclass(frozen=True)
class Table:
    """A model of items. ``by_number``: its key is the item's number and not the source's key. ``is_renamed``: key
    columns have other names than in the source. ``kinds``: a filter; none where empty. ``over``: its input."""

    name: str
    mode: ModeKind
    over: Literal["items", "picked"] = "items"
    by_number: bool = False
    is_renamed: bool = False
    kinds: tuple[str, ...] = ()
    looks_up: bool = False
    is_strict: bool = False
    is_dated: bool = True
    untracked: tuple[str, ...] = ()
    gap: timedelta = timedelta(seconds=1)
    start: str = "start_date"
    deletes: Literal["soft", "hard", "ignore"] = "soft"
    has_tie_breaker: bool = False
    is_end_null: bool = False
    from_beginning: bool = False
    deletes_as_versions: bool = False

    @property
    def keeps_versions(self) -> bool:
        """With the times they are valid in."""
        return self.mode in {"states", "changes"}


@dataclass(frozen=True)
class Sales:
    """The facts. ``binds`` are names of models that keep versions."""

    binds: tuple[str, ...]
    is_appended: bool
    deletes: Literal["soft", "hard"]
    has_zone: bool
    is_swept: bool
    unknown: int | None


@dataclass(frozen=True)
class Setting:
    """Of one history. ``days_before``: its reads are dated (None: they are not)."""

    key: tuple[KeyKind, ...]
    items: Capture
    keeps_versions: bool
    stream_untracked: tuple[str, ...]
    is_stream_dated: bool
    has_contract: bool
    has_look_contract: bool
    landing: Literal["csv", "parquet"]
    days_before: int | None
    chunk_bytes: int
    tables: tuple[Table, ...]
    sales: Sales | None
    runs: int

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Of items."""
        return tuple(f"k{index}" for index, _ in enumerate(self.key, 1))

    @property
    def looks_up(self) -> bool:
        """A model joins a snapshot."""
        return any(table.looks_up for table in self.tables)

    @property
    def rate(self) -> Table | None:
        """The model of the log."""
        return next((table for table in self.tables if table.name == "rate"), None)


def setting_of(dice: Random) -> Setting:
    """Any; of few tables, as each costs time in every run."""
    modes: list[ModeKind] = dice.choices(("states", "changes", "history", "merge"), (4, 4, 2, 2), k=dice.randint(1, 2))
    tables = [_table(dice, name, mode) for name, mode in zip(("first", "second"), modes, strict=False)]
    if any(table.over == "picked" for table in tables):
        tables.insert(0, Table("picked", "merge"))
    if dice.random() < 0.35:
        ties = dice.random() < 0.6
        begins = dice.random() < 0.2
        rate = Table("rate", "changes", untracked=("note", "seq"), has_tie_breaker=ties, from_beginning=begins)
        tables.append(replace(rate, gap=dice.choice(GAPS), is_end_null=dice.random() < 0.2))
    return Setting(
        key=tuple(dice.choices(("text", "int", "date"), k=dice.randint(1, 3))),
        items=dice.choice(("snapshot", "snapshot", "swept", "swept", "mixed")),
        keeps_versions=dice.random() < 0.3,
        stream_untracked=tuple(dice.sample(("note", "look"), dice.randint(0, 2))),
        is_stream_dated=dice.random() < 0.6,
        has_contract=dice.random() < 0.4,
        has_look_contract=dice.random() < 0.4,
        landing=dice.choice(("csv", "parquet")),
        days_before=dice.choice((None, None, 0, 1)),
        chunk_bytes=dice.choice((200, 1_000, 4_000_000)),
        tables=tuple(tables),
        sales=_sales(dice, tables),
        runs=dice.choice((2, 3, 3, 3, 4)),
    )


def _sales(dice: Random, tables: Sequence[Table]) -> Sales | None:
    bindable = [table.name for table in tables if table.keeps_versions and not table.by_number]
    if not bindable or dice.random() < 0.3:
        return None
    return Sales(
        tuple(dice.sample(bindable, dice.randint(1, min(2, len(bindable))))),
        is_appended=dice.random() < 0.4,
        deletes=dice.choice(("soft", "hard")),
        has_zone=dice.random() < 0.5,
        is_swept=dice.random() < 0.5,
        unknown=dice.choice((None, None, 0, -1)),
    )


def _table(dice: Random, name: str, mode: ModeKind) -> Table:
    return Table(
        name,
        mode,
        over=dice.choice(("items", "items", "picked")),
        by_number=mode == "history" or (mode != "changes" and dice.random() < 0.25),
        is_renamed=dice.random() < 0.3,
        kinds=dice.choice(((), (), KINDS[:2], KINDS[:1])),
        looks_up=dice.random() < 0.3,
        is_strict=dice.random() < 0.3,
        is_dated=mode == "changes" or dice.random() < 0.7,
        untracked=tuple(dice.sample(("note", "price"), dice.choice((0, 0, 1, 1, 2)))) if mode != "merge" else (),
        gap=dice.choice(GAPS),
        start=dice.choice(("start_date", "begins")),
        deletes=dice.choice(("soft", "soft", "hard", "hard", "ignore")),
        is_end_null=dice.random() < 0.2,
        from_beginning=dice.random() < 0.2,
        deletes_as_versions=dice.random() < 0.2,
    )


def moment(dice: Random, now: datetime) -> datetime | None:
    """Since when a row says that it is so: none, of a few days, now, or a time that cannot be."""
    day = datetime(2024, 3, dice.randint(1, 4))  # noqa: DTZ001 - UTC, as all times here
    fraction = dice.choice((timedelta(0), timedelta(0), timedelta(milliseconds=500), timedelta(microseconds=1)))
    choices = (None, day, day, day + timedelta(hours=12) + fraction, day + fraction, now, now, FUTURE)
    return dice.choice(choices)


FUTURE = datetime(2999, 1, 1)  # noqa: DTZ001 - the same
