"""Every word of a declaration is checked when it is made, and the message tells what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args, get_type_hints

import dataframely as dy
import polars as pl
import pytest

from millrace import Append, Incremental, Merge, Pipeline, Queue, Replace, Scd2, Snapshot, Stream
from millrace.base.errors import ConfigurationError
from millrace.base.types import DOCUMENT, INT64, DataType, Kind, decimal, text
from millrace.declaration.captures import Bind, Dated, DeletePolicy, LandingFormat, Reconcile, SchemaPolicy
from millrace.declaration.consent import Consent
from millrace.declaration.load_modes import History
from millrace.declaration.model import Model
from millrace.declaration.values import find_value, register_value


class Prices(dy.Schema):
    """Of a model."""

    id = dy.Int64(nullable=False)
    price = dy.Int64(nullable=True)


def prices(items: pl.DataFrame) -> pl.DataFrame:
    return items


STREAM = Stream("items", "postgres:public.items", "id", Incremental("changed"))
PAPERS = Stream("papers", "mongo:shop.papers", "_id", Incremental("changed"))
MESSAGES = Stream("messages", "sqs/orders", "id", Queue())
PIPELINE = Pipeline("shop", [replace(STREAM, capture=Snapshot())])
MODEL = Model(prices, Prices, "id")
DECLARATIONS = (
    STREAM,
    PIPELINE,
    MODEL,
    Incremental("changed"),
    Snapshot(),
    Queue(),
    Reconcile(),
    Dated("root"),
    Bind("price_key", "prices", "id", "at"),
    Scd2("price_key"),
    History("record_id"),
    Consent(),
)
FIELDS = [(declaration, field.name) for declaration in DECLARATIONS for field in fields(declaration)]


@pytest.mark.parametrize(
    ("declaration", "field"), FIELDS, ids=lambda one: one if isinstance(one, str) else type(one).__name__
)
def test_no_field_of_a_declaration_takes_just_anything(declaration: Any, field: str) -> None:
    with pytest.raises(ConfigurationError, match=field):
        replace(declaration, **{field: object()})


CHOICES: Mapping[str, tuple[Any, Any]] = {
    "deletes": (STREAM, DeletePolicy),
    "schema_policy": (STREAM, SchemaPolicy),
    "landing": (PIPELINE, LandingFormat),
    "policy": (Reconcile(), Literal["fail", "warn"]),
}


@pytest.mark.parametrize(
    "change", [str.upper, str.title, lambda word: f"{word} ", lambda _: "", lambda word: word[:-1]]
)
@pytest.mark.parametrize("field", CHOICES)
def test_a_misspelt_choice_is_refused_with_the_choices(field: str, change: Callable[[str], str]) -> None:
    declaration, choices = CHOICES[field]
    for word in get_args(choices):
        assert getattr(replace(declaration, **{field: word}), field) == word
        with pytest.raises(ConfigurationError, match=f"{field} is .*choose from {', '.join(get_args(choices))}"):
            replace(declaration, **{field: change(word)})


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (MODEL, {"deletes": "Soft"}, "choose from hard, soft, ignore"),
    (STREAM, {"flatten_depth": -1}, "flatten_depth is -1. Remedy: it must be greater than or equal to 0"),
    (STREAM, {"flatten_depth": True}, "flatten_depth is True. Remedy: it must be a whole number"),
    (STREAM, {"flatten_depth": 1.0}, "it must be a whole number"),
    (STREAM, {"max_rejects": -1}, "max_rejects is -1"),
    (STREAM, {"max_reject_share": float("nan")}, "max_reject_share is nan"),
    (STREAM, {"max_reject_share": 1.1}, "less than or equal to 1"),
    (STREAM, {"max_reject_share": "0.1"}, "must be a valid number"),
    (STREAM, {"capture": "changed"}, "must be an instance of Incremental, or an instance of Snapshot, or"),
    (STREAM, {"capture": Incremental}, "must be an instance of Incremental"),
    (STREAM, {"load": "merge"}, "must be an instance of Append, or an instance of Merge"),
    (STREAM, {"load": Merge}, "load is"),
    (STREAM, {"contract": dict}, "subclass of Schema"),
    (STREAM, {"types": {"a": "int"}}, r"types['a'] is 'int'. Remedy: it must be an instance of DataType"),
    (STREAM, {"types": {"a": INT64, "b": int}}, "types['b']"),
    (STREAM, {"types": {"a": decimal(39, 2)}}, "a decimal has 1 to 38 digits"),
    (STREAM, {"types": {"a": decimal(5, 6)}}, "types['a'] is decimal(5,6)"),
    (STREAM, {"types": {"a": DataType(Kind.DECIMAL)}}, "types['a'] is decimal"),
    (STREAM, {"types": {"a": text(0)}}, "a length is at least 1"),
    (STREAM, {"key": ["id", "id"]}, "key column 'id' is declared twice"),
    (STREAM, {"key": ["a.b", "a_b"]}, "key column 'a_b' is declared twice"),
    (STREAM, {"key": ["id", ""]}, "key is"),
    (STREAM, {"key": ""}, "no key is declared"),
    (STREAM, {"key": {"id": 1}}, "key is {'id': 1}"),
    (STREAM, {"load": Append(), "deletes": "soft"}, "Append does not do deletes='soft'"),
    (STREAM, {"capture": Snapshot(), "load": Replace(), "deletes": "ignore"}, "Replace does not do deletes='ignore'"),
    (STREAM, {"capture": Snapshot(), "load": Replace(), "deletes": "soft"}, "Replace does not do deletes='soft'"),
    (STREAM, {"source": None}, "source is None"),
    (STREAM, {"sweep": "dayly"}, "'dayly' is not a schedule"),
    (STREAM, {"sweep": "0 0 0 * * *"}, "Wrong number of fields"),
    (STREAM, {"sweep": "0 0 30 2 *"}, "is not a schedule"),
    (STREAM, {"reconcile": "warn"}, "instance of Reconcile"),
    (STREAM, {"rewritten": {"email": "x"}}, "rewritten['email'] is 'x'. Remedy: it must be an instance of Expr"),
    (STREAM, {"rewritten": {"eMail": pl.lit("x")}}, "write 'e_mail'"),
    (STREAM, {"rewritten": {"id": pl.lit("x")}}, "key column 'id' is rewritten"),
    (STREAM, {"sorted_by": "Changed"}, "write 'changed'"),
    (PAPERS, {"omitted": "email"}, "omitted is 'email'. Remedy: it must be a list of texts"),
    (PAPERS, {"omitted": ["email", ""]}, "omitted is"),
    (PAPERS, {"omitted": ["_id"]}, "'_id' is declared and omitted"),
    (PAPERS, {"key": "who.id", "omitted": {"who"}}, "'who.id' is declared and omitted"),
    (PAPERS, {"types": {"who.name": text()}, "omitted": ("who",)}, "'who.name' is declared and omitted"),
    (PAPERS, {"omitted": ["changed"]}, "'changed' is declared and omitted"),
    (MESSAGES, {"capture": Queue(stamp="at.sent"), "omitted": ["at"]}, "'at.sent' is declared and omitted"),
    (
        PAPERS,
        {"types": {"who": DOCUMENT, "who.age": INT64}},
        "'who.age' lies in 'who', which types declares a document",
    ),
    (MESSAGES, {"types": {"who.at.x": text(), "who": DOCUMENT}}, "'who.at.x' lies in 'who'"),
    (MESSAGES, {"capture": Queue(dead_letters="orders")}, "its dead_letters are the queue itself"),
    (PIPELINE, {"streams": []}, "it has no streams"),
    (PIPELINE, {"streams": STREAM}, "streams is"),
    (PIPELINE, {"streams": [MODEL]}, "must be an instance of Stream"),
    (PIPELINE, {"models": [STREAM]}, "must be an instance of Model"),
    (PIPELINE, {"schedule": "nonsense"}, "pipeline shop: 'nonsense' is not a schedule"),
    (PIPELINE, {"schedule": "every run"}, "is not a cron expression"),
    (PIPELINE, {"schedule": "0 0 31 4 *"}, "is not a schedule"),
    (PIPELINE, {"fresh_within": timedelta(0)}, "greater than 0"),
    (PIPELINE, {"fresh_within": 30}, "it must be a timedelta"),
    (PIPELINE, {"dated": "root"}, "instance of Dated"),
    (PIPELINE, {"name": "millrace"}, "schema 'millrace' is reserved for Millrace"),
    (PIPELINE, {"schema": "millrace"}, "schema 'millrace' is reserved for Millrace"),
    (PIPELINE, {"model_schema": "millrace"}, "schema 'millrace' is reserved for Millrace"),
    (PIPELINE, {"schema": "pg_catalog"}, "or for the warehouse itself"),
    (PIPELINE, {"model_schema": "pg_temp"}, "or for the warehouse itself"),
    (PIPELINE, {"schema": "information_schema"}, "or for the warehouse itself"),
    (MODEL, {"load": Replace(), "deletes": "ignore"}, "Replace does not do deletes='ignore'"),
    (MODEL, {"key": ["id", "id"]}, "key column 'id' is declared twice"),
    (MODEL, {"unknown": {"price": "none"}}, "unknown['price'] is 'none', and the column has type Int64"),
    (MODEL, {"unknown": {"price": 1.5}}, "unknown['price'] is 1.5"),
    (MODEL, {"unknown": {"price": True}}, "unknown['price'] is True"),
    (MODEL, {"references": {"price": 5}}, "references['price'] is 5"),
    (MODEL, {"binds": ["price_key"]}, "instance of Bind"),
    (Incremental("changed"), {"cursor": ""}, "a text that is not empty"),
    (Incremental("changed"), {"overlap": timedelta(seconds=-1)}, "overlap is"),
    (Incremental("changed"), {"overlap": timedelta.max}, "less than or equal to 36500 days"),
    (Incremental("changed"), {"overlap": "60"}, "it must be a timedelta, or a whole number"),
    (Incremental("id"), {"overlap": -1}, "greater than or equal to 0"),
    (Reconcile(), {"rows": 0}, "rows is 0. Remedy: it must be greater than or equal to 1"),
    (Dated("root"), {"days_before": 0.5}, "it must be a whole number"),
    (Dated("root"), {"days_before": -1}, "days_before is -1"),
    (Bind("price_key", "prices", "id", "at"), {"by": ("id", "id")}, "column 'id' is declared twice"),
    (Scd2("price_key"), {"untracked": "price"}, "it must be a list of texts"),
    (Scd2("price_key"), {"changes": 1}, "it must be True or False"),
    (Scd2("price_key"), {"open_end": datetime(9999, 12, 31, tzinfo=UTC)}, "a datetime without tzinfo"),
    (Consent(), {"allow_deletes": "no"}, "allow_deletes is 'no'. Remedy: it must be True or False"),
    (Consent(), {"accept_rejects": 1}, "it must be True or False"),
    (Queue(), {"dead_letters": "Not a name"}, "is not the name of a connection"),
]


@pytest.mark.parametrize(
    ("declaration", "change", "message"), WRONG, ids=lambda one: str(one) if isinstance(one, str) else ""
)
def test_what_is_wrong_is_told_with_what_would_be_right(declaration: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        replace(declaration, **change)


def test_what_is_right_is_taken_in_each_of_its_forms() -> None:
    for omitted in (["email"], ("email",), {"email"}, frozenset({"email"}), ()):
        assert replace(PAPERS, omitted=omitted).omitted == omitted
    for load in (Append(), Merge()):
        assert replace(STREAM, load=load, max_reject_share=1, sweep="0 3 * * 1-5").load == load
    for price in (None, 0, "0"):
        assert replace(MODEL, unknown={"price": price}).unknown == {"price": price}
    assert replace(STREAM, key=("a", "b"), types={"a": decimal(38, 37), "b": text(1)}).keys == ("a", "b")


def test_every_choice_of_a_declaration_is_among_those_that_are_tried() -> None:
    choices = {
        field.name
        for declaration in DECLARATIONS
        for field in fields(declaration)
        if Literal in {getattr(get_type_hints(type(declaration)).get(field.name), "__origin__", None)}
    }
    assert choices == set(CHOICES)


def test_a_pipeline_that_is_given_as_a_value_is_found_itself_and_no_equal_one() -> None:
    """What ``rewritten`` declares is no part of a comparison."""

    def shop(value: pl.Expr) -> Pipeline:
        stream = Stream("notes", "postgres:public.notes", "id", Snapshot(), rewritten={"body": value})
        return Pipeline("shop_of_values", [stream])

    pipelines = [shop(pl.lit("a")), shop(pl.lit("b"))]
    names = [register_value(pipeline) for pipeline in pipelines]
    assert [find_value(name) for name in names][1] is pipelines[1]
    assert register_value(pipelines[0]) == names[0]
