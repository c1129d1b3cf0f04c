"""The pipeline of a history: streams, and models whose functions work on frames."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import FunctionType
from typing import Any

import dataframely as dy
import polars as pl

from millrace import Append, Bind, Dated, History, Incremental, Merge, Model, Pipeline, Scd2, Snapshot, Stream
from millrace.declaration.load_mode_base import LoadMode
from tests.versions.models import TOO_DEAR, UNKNOWN_LABEL, renamed
from tests.versions.rules import OPEN_END
from tests.versions.setting import Sales, Setting, Table

NO_OVERLAP = timedelta(0)
KEY_TYPES: dict[str, Callable[..., dy.Column]] = {"text": dy.String, "int": dy.Int32, "date": dy.Date}
Function = Callable[..., pl.DataFrame]


class Good(dy.Schema):
    """The contract of items: some are too dear."""

    price = dy.Int32(nullable=True, max=TOO_DEAR - 1)


class Labelled(dy.Schema):
    """The contract of looks."""

    label = dy.String(nullable=True)

    @dy.rule()
    def label_is_known(cls) -> pl.Expr:
        return pl.col("label") != UNKNOWN_LABEL


def pipeline_of(setting: Setting, name: str) -> Pipeline:
    """Its source's tables are called after it."""
    models = [_model(setting, table) for table in setting.tables]
    days = setting.days_before
    return Pipeline(
        name,
        streams=_streams(setting, name),
        schema=f"{name}_source",
        landing=setting.landing,
        dated=None if days is None else Dated("days", zone="Asia/Jakarta", days_before=days),
        models=[
            *models,
            *([_sold(setting, setting.sales)] if setting.sales else []),
        ],
    )


def _streams(setting: Setting, name: str) -> list[Stream]:
    capture = Snapshot("changed") if setting.items == "snapshot" else Incremental("changed", NO_OVERLAP)
    items = Stream(
        "items",
        f"postgres:public.items_{name}",
        setting.key_columns,
        capture,
        sweep="every run" if setting.items == "swept" else "",
        load=_stream_load(setting),
        deletes="soft",
        contract=Good if setting.has_contract else None,
        max_delete_share=1,
        max_reject_share=1,
    )
    looks = Stream(
        "looks",
        f"postgres:public.looks_{name}",
        "look",
        Snapshot("changed"),
        contract=Labelled if setting.has_look_contract else None,
        max_delete_share=1,
        max_reject_share=1,
    )
    log = Stream("log", f"postgres:public.log_{name}", "number", Incremental("changed", NO_OVERLAP), load=Append())
    sales = Stream(
        "sales",
        f"postgres:public.sales_{name}",
        "sale",
        Incremental("changed", NO_OVERLAP),
        sweep="every run" if setting.sales and setting.sales.is_swept else "",
        max_delete_share=1,
    )
    chosen = [(items, True), (looks, setting.looks_up), (log, setting.rate), (sales, setting.sales)]
    return [stream for stream, is_there in chosen if is_there]


def _stream_load(setting: Setting) -> LoadMode:
    if not setting.keeps_versions:
        return Merge()
    since = "since" if setting.is_stream_dated else ""
    untracked = ["changed", *([] if since else ["since"]), *setting.stream_untracked]
    return Scd2("items_version", effective_from=since, untracked=untracked)


def _schema(columns: dict[str, dy.Column], rules: dict[str, Any]) -> type[dy.Schema]:
    return type("Columns", (dy.Schema,), {**columns, **rules})


def _columns(setting: Setting, table: Table) -> dict[str, dy.Column]:
    keys = {
        renamed(table, name): KEY_TYPES[kind](nullable=False)
        for name, kind in zip(setting.key_columns, setting.key, strict=True)
    }
    columns = keys | {
        "number": dy.Int32(nullable=False), "price": dy.Int32(nullable=True), "note": dy.String(nullable=True),
    }  # fmt: skip
    columns |= {"label": dy.String(nullable=True)} if table.looks_up else {}
    return columns | ({"since": dy.Datetime(nullable=True)} if table.is_dated else {})


def _picked(setting: Setting, table: Table) -> Model:
    def picked(items: pl.DataFrame) -> pl.DataFrame:
        return items.select(*setting.key_columns, "number", "price", "note", "kind", "look", "since")

    columns = _columns(setting, table)
    own = {"kind": dy.String(nullable=False), "look": dy.Int32(nullable=True)}
    return Model(picked, _schema({**columns, **own}, {}), setting.key_columns, max_delete_share=1)


def _model(setting: Setting, table: Table) -> Model:
    if table.name == "rate":
        return _rate(table)
    if table.name == "picked":
        return _picked(setting, table)
    columns, keys = _columns(setting, table), {renamed(table, name): name for name in setting.key_columns}
    rules: dict[str, Any] = {}
    if table.is_strict:
        rules["price_is_not_negative"] = dy.rule()(lambda cls: pl.col("price") >= 0)
    declares_root = table.is_renamed and setting.items != "snapshot"
    return Model(
        _function(setting, table, list(columns)),
        _schema(columns, rules),
        "number" if table.by_number else tuple(keys),
        load=_load(table),
        deletes=table.deletes,
        root_key=keys if declares_root else {},
        max_delete_share=1,
        max_reject_share=1,
    )


def _load(table: Table) -> LoadMode:
    match table.mode:
        case "history":
            return History(f"{table.name}_record")
        case "merge":
            return Merge()
        case _:
            return Scd2(
                f"{table.name}_key",
                effective_from="since" if table.is_dated else "",
                untracked=table.untracked,
                changes=table.mode == "changes",
                gap=table.gap,
                start=table.start,
                tie_breaker="seq" if table.has_tie_breaker else "",
                open_end=None if table.is_end_null else OPEN_END,
                from_beginning=table.from_beginning,
                deletes_as_versions=table.deletes_as_versions,
            )


def _function(setting: Setting, table: Table, names: list[str]) -> Function:
    def compute(items: pl.DataFrame, looks: pl.DataFrame | None = None) -> pl.DataFrame:
        frame = items.filter(pl.col("kind").is_in(table.kinds)) if table.kinds else items
        if looks is not None:
            frame = frame.join(looks.select("look", "label"), on="look", how="left")
        return frame.rename({name: renamed(table, name) for name in setting.key_columns}).select(names)

    def of_items(items: pl.DataFrame) -> pl.DataFrame:
        return compute(items)

    def of_picked(picked: pl.DataFrame) -> pl.DataFrame:
        return compute(picked)

    def of_items_and_looks(items: pl.DataFrame, looks: pl.DataFrame) -> pl.DataFrame:
        return compute(items, looks)

    def of_picked_and_looks(picked: pl.DataFrame, looks: pl.DataFrame) -> pl.DataFrame:
        return compute(picked, looks)

    functions = {"items": (of_items, of_items_and_looks), "picked": (of_picked, of_picked_and_looks)}
    return _called(functions[table.over][table.looks_up], table.name)


def _called(function: Function, name: str) -> Function:
    assert isinstance(function, FunctionType)
    function.__name__ = name
    return function


def _rate(table: Table) -> Model:
    class Rate(dy.Schema):
        code = dy.String(nullable=False)
        price = dy.Int32(nullable=True)
        note = dy.String(nullable=True)
        seq = dy.Int32(nullable=True)
        since = dy.Datetime(nullable=True)

    def rate(log: pl.DataFrame) -> pl.DataFrame:
        return log.select("code", "price", "note", "seq", "since")

    return Model(rate, Rate, "code", load=_load(table))


def _sold(setting: Setting, facts: Sales) -> Model:
    def sold(sales: pl.DataFrame) -> pl.DataFrame:
        return sales.select("sale", *setting.key_columns, "code", "amount", "at")

    keys = {name: KEY_TYPES[kind](nullable=True) for name, kind in zip(setting.key_columns, setting.key, strict=True)}
    columns = {
        "sale": dy.Int32(nullable=False), **keys, "code": dy.String(nullable=True), "amount": dy.Int32(nullable=True),
        "at": dy.Datetime(time_zone="UTC" if facts.has_zone else None, nullable=True),
    }  # fmt: skip
    binds = [
        Bind(f"{name}_id", name, "code" if name == "rate" else setting.key_columns, "at", facts.unknown)
        for name in facts.binds
    ]
    return Model(
        sold,
        _schema(columns, {}),
        "sale",
        load=Append() if facts.is_appended else Merge(),
        deletes=facts.deletes,
        binds=binds,
        max_delete_share=1,
    )
