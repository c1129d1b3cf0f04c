"""Rows that leave a model's result leave its table: by a filter, another key, a row that is gone; however often it is
read, in whatever load mode. What cannot be told is refused when it is declared, or by the rows themselves."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from millrace import Append, History, Incremental, Merge, Model, Pipeline, Scd2, Snapshot, Stream
from millrace.base.errors import ConfigurationError, FatalError
from millrace.declaration.load_mode_base import LoadMode
from millrace.runs.choose import ReadRequest
from tests.support.engine import Together
from tests.support.shop import NO_OVERLAP

PEOPLE = Stream(
    "people",
    source="postgres:public.people",
    key="id",
    capture=Incremental("changed", overlap=NO_OVERLAP),
    sweep="every run",
)
THERE: dict[str, tuple[LoadMode, str]] = {
    "merge": (Merge(), '"_deleted_at" IS NULL'),
    "scd2": (Scd2("surrogate"), "is_current"),
    "history": (
        History("record_id"),
        '"_deleted_at" IS NULL AND "_version" = (SELECT max("_version") FROM people.{0} AS o '
        "WHERE o.{1} = people.{0}.{1})",
    ),
}
"""Load modes, each with what is true of the rows that are there."""


class Renamed(dy.Schema):
    """By the source's key under another name."""

    person = dy.Int32(nullable=False)
    mail = dy.String(nullable=True)


class Paid(dy.Schema):
    """Some rows."""

    id = dy.Int32(nullable=False)
    mail = dy.String(nullable=True)


class ByMail(dy.Schema):
    """By another column of the source."""

    mail = dy.String(nullable=False)
    id = dy.Int32(nullable=False)


class Letters(dy.Schema):
    """Several rows of one row."""

    number = dy.Int64(nullable=False)
    person = dy.Int32(nullable=False)


def renamed(people: pl.DataFrame) -> pl.DataFrame:
    """All."""
    return people.select("mail", person="id")


def paid(people: pl.DataFrame) -> pl.DataFrame:
    """Those who paid."""
    return people.filter(pl.col("state") == "paid").select("id", "mail")


def by_mail(people: pl.DataFrame) -> pl.DataFrame:
    """Those who have a mail address."""
    return people.filter(pl.col("mail").is_not_null()).select("mail", "id")


def letters(people: pl.DataFrame) -> pl.DataFrame:
    """A row per letter that was sent."""
    sent = (
        people.select("id", number=pl.int_ranges(0, pl.col("letters"), dtype=pl.Int64)).explode("number").drop_nulls()
    )
    return sent.select(pl.col("number") + pl.col("id").cast(pl.Int64) * 100, person="id")


def of_paid(paid: pl.DataFrame) -> pl.DataFrame:
    """A model of a model: those who paid and have a mail address, under other names."""
    return paid.filter(pl.col("mail").is_not_null()).select("mail", person="id")


MODELS: dict[str, tuple[Model, ...]] = {
    "renamed": (Model(renamed, Renamed, "person", root_key={"person": "id"}),),
    "paid": (Model(paid, Paid, "id"),),
    "by_mail": (Model(by_mail, ByMail, "mail"),),
    "letters": (Model(letters, Letters, "number", root_key={"person": "id"}),),
    "of_paid": (Model(paid, Paid, "id"), Model(of_paid, Renamed, "person", root_key={"person": "id"})),
}


def pipeline(*models: Model, stream: Stream = PEOPLE) -> Pipeline:
    return Pipeline("people", [stream], schema="people_source", models=models)


def fill(together: Together, rows: str = "(1, 'm1', 'paid', 2), (2, 'm2', 'open', 0), (3, NULL, 'paid', 1)") -> None:
    together.engine.source(
        "CREATE TABLE people (id int PRIMARY KEY, mail text, state text, letters int, "
        f"changed timestamptz DEFAULT clock_timestamp()); INSERT INTO people VALUES {rows}"
    )


def step(chance: random.Random, together: Together) -> None:
    """A change that any application makes: silent or stamped, of one row or of two that trade addresses."""
    one, other = chance.sample(range(1, 7), 2)
    stamp = chance.choice([", changed = clock_timestamp()", ""])
    together.engine.source(
        chance.choice(
            [
                f"DELETE FROM people WHERE id = {one}",
                f"INSERT INTO people VALUES ({one}, 'm{one}', '{chance.choice(['paid', 'open'])}', 1) "
                "ON CONFLICT (id) DO NOTHING",
                f"UPDATE people SET state = '{chance.choice(['paid', 'open'])}'{stamp} WHERE id = {one}",
                f"UPDATE people SET letters = {chance.randrange(4)}{stamp} WHERE id = {one}",
                f"UPDATE people SET mail = CASE WHEN id = {one} THEN (SELECT mail FROM people WHERE id = {other}) "
                f"ELSE (SELECT mail FROM people WHERE id = {one}) END{stamp} WHERE id IN ({one}, {other}) "
                f"AND 2 = (SELECT count(*) FROM people WHERE id IN ({one}, {other}))",
                f"UPDATE people SET mail = NULL{stamp} WHERE id = {one}",
            ]
        ).replace("'m", f"'{chance.randrange(1000)}m")
    )


def held(together: Together, model: Model, there: str) -> list[tuple[Any, ...]]:
    columns = ", ".join(model.schema.column_names())
    where = there.format(model.name, model.keys[0])
    return sorted(together.engine.query(f"SELECT {columns} FROM people.{model.name} WHERE {where}"), key=repr)


def given(together: Together, models: tuple[Model, ...]) -> list[tuple[Any, ...]]:
    """What the last model makes of the whole source."""
    schema = {"id": pl.Int32, "mail": pl.String, "state": pl.String, "letters": pl.Int32}
    rows = together.engine.source("SELECT id, mail, state, letters FROM people")
    frames = {"people": pl.DataFrame(rows, schema=schema, orient="row")}
    for model in models:
        frames[model.name] = model.function(**{name: frames[name] for name in model.inputs})
    return sorted(frames[models[-1].name].select(models[-1].schema.column_names()).rows(), key=repr)


# A history is numbered by an integer key.
KINDS = [(kind, load) for kind in MODELS for load in THERE if (kind, load) != ("by_mail", "history")]


@pytest.mark.parametrize(
    ("either", "kind", "load"),
    [(("redshift", "postgres")[number % 2], *one) for number, one in enumerate(KINDS)],
    indirect=["either"],
)
async def test_the_table_holds_what_the_model_gives(together: Together, kind: str, load: str) -> None:
    """After each of some runs over random changes."""
    mode, there = THERE[load]
    models = (*MODELS[kind][:-1], replace(MODELS[kind][-1], load=mode))
    fill(together)
    chance = random.Random(f"{kind} {load}")  # noqa: S311 - histories that can be repeated
    for read_request in (ReadRequest(), ReadRequest(), ReadRequest(), ReadRequest("full"), ReadRequest()):
        await together.run(pipeline(*models), read_request=read_request)
        if read_request.mode == "incremental":
            assert held(together, models[-1], there) == given(together, models)
        for _ in range(4):
            step(chance, together)


async def test_a_value_that_another_row_took_over_stays(on_redshift: Together) -> None:
    """Row 2 takes the address of row 1, which is seen to have lost it only later."""
    model = Model(by_mail, ByMail, "mail")
    stream = replace(PEOPLE, sweep="")
    fill(on_redshift)
    await on_redshift.run(pipeline(model, stream=stream))
    on_redshift.engine.source(
        "UPDATE people SET mail = 'm9' WHERE id = 1; UPDATE people SET mail = 'm1', changed = now() WHERE id = 2"
    )
    await on_redshift.run(pipeline(model, stream=stream))
    await on_redshift.run(pipeline(model, stream=stream), read_request=ReadRequest("sweep"))
    assert held(on_redshift, model, '"_deleted_at" IS NULL') == [("m1", 2), ("m9", 1)]


class Mail(dy.Schema):
    """A key that many rows may give."""

    mail = dy.String(nullable=False)


def mails(people: pl.DataFrame) -> pl.DataFrame:
    """Addresses, each once."""
    return people.select("mail").drop_nulls().unique()


@pytest.mark.parametrize(
    ("declared", "because"),
    [
        ({}, r"it does not have the key of people \(id\).*root_key=.*Snapshot.*deletes='ignore'"),
        ({"root_key": {"mail": "number"}}, "its root_key names number, and the key of people is id"),
        ({"root_key": {"nothing": "id"}}, "its schema has no column 'nothing'"),
        ({"load": Scd2("k")}, "it does not have the key of people"),
        ({"union": True}, "it declares union, and its inputs do not change independently"),
    ],
)
def test_a_model_whose_rows_could_not_leave_is_refused(declared: dict[str, Any], because: str) -> None:
    with pytest.raises(ConfigurationError, match=because):
        pipeline(Model(mails, Mail, "mail", **declared))


@pytest.mark.parametrize(
    ("declared", "stream"),
    [
        ({"deletes": "ignore"}, PEOPLE),
        ({"load": Append()}, PEOPLE),
        ({}, replace(PEOPLE, load=Append(), sweep="")),
        ({}, replace(PEOPLE, capture=Snapshot(), sweep="")),
    ],
)
def test_a_model_whose_rows_stay_or_are_whole_needs_no_key(declared: dict[str, Any], stream: Stream) -> None:
    pipeline(Model(mails, Mail, "mail", **declared), stream=stream)


async def test_rows_that_come_with_several_chunks_count_once(
    on_redshift: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.lake.formats.CHUNK_ROWS", 1)
    fill(on_redshift, "(1, 'm', '', 0), (2, 'm', '', 0), (3, 'n', '', 0)")
    model = Model(mails, Mail, "mail", deletes="ignore")
    assert (await on_redshift.run(pipeline(model)))["mails"].inserted == 2


class Chief(dy.Schema):
    """Under the name of the source's key something else."""

    id = dy.Int32(nullable=False)
    n = dy.Int32(nullable=False)


class Count(dy.Schema):
    """Of many rows one."""

    id = dy.Int32(nullable=False)
    people = dy.UInt32(nullable=False)


def chiefs(people: pl.DataFrame) -> pl.DataFrame:
    """The key of the source is in n."""
    return people.select(n="id", id="letters")


def counts(people: pl.DataFrame) -> pl.DataFrame:
    """How many there are, beside each."""
    return people.select("id", people=pl.len().cast(pl.UInt32))


def ranks(people: pl.DataFrame) -> pl.DataFrame:
    """The place of each."""
    return people.select("id", people=pl.col("id").rank("ordinal").cast(pl.UInt32))


@pytest.mark.parametrize(
    ("function", "schema", "because"),
    [
        (chiefs, Chief, r"model people.chiefs: \d of its rows do not hold in id the key of the row of people"),
        (counts, Count, "model people.counts: it gives other rows for parts of its input than for all of it"),
        (ranks, Count, "model people.ranks: it gives other rows for parts"),
    ],
)
async def test_a_function_that_is_not_of_single_rows_loads_nothing(
    on_redshift: Together, function: Callable[..., pl.DataFrame], schema: type[dy.Schema], because: str
) -> None:
    """Also where the keys of some rows are keys of others."""
    fill(on_redshift, "(1, '', '', 2), (2, '', '', 1), (3, '', '', 3)")
    with pytest.raises(FatalError, match=because):
        await on_redshift.run(pipeline(Model(function, schema, "id")))
    assert on_redshift.engine.query("SELECT count(*) FROM information_schema.tables WHERE table_name = 'people'") == [
        (0,)
    ]


async def test_the_declared_key_makes_the_same_function_right(on_redshift: Together) -> None:
    fill(on_redshift, "(1, '', '', 2), (2, '', '', 1), (3, '', '', 4)")
    model = Model(chiefs, Chief, "id", root_key={"n": "id"})
    await on_redshift.run(pipeline(model))
    on_redshift.engine.source("DELETE FROM people WHERE id = 2; UPDATE people SET letters = 7 WHERE id = 1")
    await on_redshift.run(pipeline(model))
    assert held(on_redshift, model, '"_deleted_at" IS NULL') == [(4, 3), (7, 1)]


class Places(dy.Schema):
    """The columns of the key in the order of the source."""

    aisle = dy.Int32(nullable=False)
    shelf = dy.Int32(nullable=False)
    things = dy.Int32(nullable=False)


def places(shelves: pl.DataFrame) -> pl.DataFrame:
    """Those that hold something."""
    return shelves.filter(pl.col("things") > 0).select("aisle", "shelf", "things")


@pytest.mark.parametrize("load", ["merge", "scd2"])
async def test_deletes_and_rows_that_leave_at_once_are_told_by_the_right_columns(together: Together, load: str) -> None:
    """Whatever the order in which a model names the columns of its key."""
    mode, there = THERE[load]
    stream = replace(PEOPLE, name="shelves", source="postgres:public.shelves", key=["aisle", "shelf"])
    model = Model(places, Places, ["shelf", "aisle"], load=mode)
    together.engine.source(
        "CREATE TABLE shelves (aisle int, shelf int, things int, changed timestamptz DEFAULT clock_timestamp(), "
        "PRIMARY KEY (aisle, shelf)); INSERT INTO shelves SELECT a, s, 5 FROM generate_series(1, 3) AS a, "
        "generate_series(1, 3) AS s"
    )
    own = pipeline(model, stream=stream)
    await together.run(own)
    together.engine.source(
        "UPDATE shelves SET things = 0 WHERE aisle = 1 AND shelf = 2; DELETE FROM shelves WHERE aisle = 2 AND shelf = 3"
    )
    await together.run(own)
    left = {(row[0], row[1]) for row in held(together, model, there)}
    assert {(a, s) for a in (1, 2, 3) for s in (1, 2, 3)} - left == {(1, 2), (2, 3)}


@pytest.mark.parametrize("kind", MODELS)
async def test_rows_leave_that_left_while_the_streams_table_was_lost(on_redshift: Together, kind: str) -> None:
    """No sweep finds them any more: the table that it compares with was made again."""
    models = MODELS[kind]
    fill(on_redshift)
    await on_redshift.run(pipeline(*models))
    on_redshift.engine.query("DROP TABLE people_source.people")
    on_redshift.engine.source("DELETE FROM people WHERE id = 1; UPDATE people SET mail = 'new' WHERE id = 3")
    await on_redshift.run(pipeline(*models))
    assert held(on_redshift, models[-1], THERE["merge"][1]) == given(on_redshift, models)
