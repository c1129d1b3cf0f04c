"""The models of `totesys`: pure functions, so rows in, rows out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from polars.testing import assert_frame_equal

from millrace import Model
from millrace.pipelines.totesys import models, pipeline
from millrace.pipelines.totesys.schemas import FactSalesOrder
from tests.pipelines.totesys_source import MONEY, empty, rows, source_schema

CHANGES = {
    "sales_order": models.fact_sales_order,
    "purchase_order": models.fact_purchase_order,
    "payment": models.fact_payment,
    "transaction": models.dim_transaction,
}
"""Models over changed rows, which come in chunks."""


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def fact_dates(**columns: list[str]) -> pl.DataFrame:
    """Of a fact's rows only the dates, which are all that dim_date looks at."""
    return pl.DataFrame({name: [date.fromisoformat(day) for day in days] for name, days in columns.items()})


NO_DATES = pl.DataFrame(schema={"created_date": pl.Date, "paid": pl.Boolean})


def test_a_sales_order() -> None:
    result = models.fact_sales_order(
        rows(
            "sales_order",
            {"created_at": moment("2022-11-03T14:20:52.186"), "last_updated": moment("2022-11-04T08:00:00.001")},
        )
    )
    assert result.to_dicts() == [
        {
            "sales_order_id": 11,
            "created_date": date(2022, 11, 3),
            "created_time": time(14, 20, 52, 186_000),
            "last_updated_date": date(2022, 11, 4),
            "last_updated_time": time(8, 0, 0, 1_000),
            "sales_staff_id": 7,
            "counterparty_id": 2,
            "units_sold": 100,
            "unit_price": Decimal("2.43"),
            "currency_id": 1,
            "design_id": 5,
            "agreed_payment_date": date(2024, 11, 18),
            "agreed_delivery_date": date(2024, 11, 20),
            "agreed_delivery_location_id": 3,
        }
    ]


def test_a_purchase_order() -> None:
    assert models.fact_purchase_order(rows("purchase_order", {})).to_dicts() == [
        {
            "purchase_order_id": 12,
            "created_date": date(2024, 11, 14),
            "created_time": time(10, 9, 10, 186_000),
            "last_updated_date": date(2024, 11, 14),
            "last_updated_time": time(10, 9, 10, 186_000),
            "staff_id": 7,
            "counterparty_id": 2,
            "item_code": "ZDOI5EA",
            "item_quantity": 371,
            "item_unit_price": Decimal("361.39"),
            "currency_id": 1,
            "agreed_delivery_date": date(2024, 11, 20),
            "agreed_payment_date": date(2024, 11, 18),
            "agreed_delivery_location_id": 3,
        }
    ]


def test_a_payment() -> None:
    assert models.fact_payment(rows("payment", {})).to_dicts() == [
        {
            "payment_id": 14,
            "created_date": date(2024, 11, 14),
            "created_time": time(10, 9, 10, 186_000),
            "last_updated_date": date(2024, 11, 14),
            "last_updated_time": time(10, 9, 10, 186_000),
            "transaction_id": 13,
            "counterparty_id": 2,
            "payment_amount": Decimal("243.00"),
            "currency_id": 1,
            "payment_type_id": 1,
            "paid": False,
            "payment_date": date(2024, 11, 18),
        }
    ]


@pytest.mark.parametrize(
    ("stamp", "day", "clock"),
    [
        ("2024-11-14T10:09:10", date(2024, 11, 14), time(10, 9, 10)),
        ("2024-11-14T00:00:00", date(2024, 11, 14), time(0)),
        ("2024-11-14T23:59:59.999", date(2024, 11, 14), time(23, 59, 59, 999_000)),
        ("2024-02-29T12:00:00.001", date(2024, 2, 29), time(12, 0, 0, 1_000)),
        ("9999-12-31T23:59:59.999999", date(9999, 12, 31), time(23, 59, 59, 999_999)),
        ("0001-01-01T00:00:00.000001", date(1, 1, 1), time(0, 0, 0, 1)),
        ("1969-12-31T23:59:59.999", date(1969, 12, 31), time(23, 59, 59, 999_000)),
    ],
)
@pytest.mark.parametrize("table", ["sales_order", "purchase_order", "payment"])
def test_a_stamp_is_split_exactly(table: str, stamp: str, day: date, clock: time) -> None:
    changes = rows(table, {"created_at": moment(stamp)}, {"last_updated": moment(stamp)})
    created, updated = CHANGES[table](changes).to_dicts()
    assert (created["created_date"], created["created_time"]) == (day, clock)
    assert (updated["last_updated_date"], updated["last_updated_time"]) == (day, clock)


def test_far_dates_are_dates() -> None:
    changes = rows("payment", {"payment_date": "9999-12-31"}, {"payment_date": "0001-01-01"})
    assert models.fact_payment(changes)["payment_date"].to_list() == [date(9999, 12, 31), date(1, 1, 1)]


@pytest.mark.parametrize("text", ["2023-02-29", "29.02.2024", ""])
def test_what_is_no_date_never_becomes_null(text: str) -> None:
    with pytest.raises(pl.exceptions.InvalidOperationError):
        models.fact_payment(rows("payment", {"payment_date": text}))


def test_money_of_another_scale_is_not_rounded_and_not_accepted() -> None:
    exact = rows("sales_order", {}).with_columns(unit_price=pl.lit(Decimal("2.435")).cast(pl.Decimal(38, 9)))
    result = models.fact_sales_order(exact)
    assert result["unit_price"].to_list() == [Decimal("2.435")]
    with pytest.raises(dy.exc.SchemaError):
        FactSalesOrder.validate(result)


def test_a_transaction_is_copied() -> None:
    purchase = {"transaction_type": "PURCHASE", "sales_order_id": None, "purchase_order_id": 12}
    assert models.dim_transaction(rows("transaction", {}, purchase)).rows() == [
        (13, "SALE", 11, None),
        (13, "PURCHASE", None, 12),
    ]


def test_staff_have_their_department() -> None:
    assert models.dim_staff(rows("staff", {}), rows("department", {})).rows() == [
        (7, "Jeremie", "O'Keefe", "Purchasing", "Leds", "jeremie.o'keefe@example.com")
    ]


def test_a_department_without_a_location() -> None:
    result = models.dim_staff(rows("staff", {}), rows("department", {"location": None}))
    assert result.select("department_name", "location").rows() == [("Purchasing", "Unknown")]


def test_staff_whose_department_is_not_there_stay() -> None:
    result = models.dim_staff(rows("staff", {}, {"staff_id": 8, "department_id": 99}), rows("department", {}))
    assert result.select("staff_id", "department_name", "location").rows() == [
        (7, "Purchasing", "Leds"),
        (8, "Unknown", "Unknown"),
    ]


def test_an_edit_of_a_department_reaches_all_of_its_staff() -> None:
    staff = rows("staff", {"staff_id": 1}, {"staff_id": 2, "department_id": 5}, {"staff_id": 3})
    before = rows("department", {}, {"department_id": 5, "department_name": "Sales"})
    after = rows("department", {"location": "Leeds"}, {"department_id": 5, "department_name": "Sales"})
    edited = models.dim_staff(staff, after).join(models.dim_staff(staff, before), on=pl.all(), how="anti")
    assert edited.select("staff_id", "location").rows() == [(1, "Leeds"), (3, "Leeds")]


def test_a_doubled_department_doubles_nobody() -> None:
    with pytest.raises(pl.exceptions.ComputeError):
        models.dim_staff(rows("staff", {}), rows("department", {}, {}))


@pytest.mark.parametrize("text", ["NULL", "None", "", " ", "Leds", "O'Keefe", 'say "ü"', "a\nb", "a,b", "a\\b"])
def test_texts_are_copied_not_corrected(text: str) -> None:
    staff = models.dim_staff(rows("staff", {"first_name": text}), rows("department", {"location": text}))
    assert staff.select("first_name", "location").rows() == [(text, text)]
    address = rows("address", {"address_line_2": text, "district": text})
    assert models.dim_location(address).select("address_line_2", "district").rows() == [(text, text)]
    legal = models.dim_counterparty(rows("counterparty", {}), address)
    assert legal["counterparty_legal_district"].to_list() == [text]
    assert models.dim_design(rows("design", {"file_name": text}))["file_name"].to_list() == [text]


def test_a_location() -> None:
    assert models.dim_location(rows("address", {})).to_dicts() == [
        {
            "location_id": 1,
            "address_line_1": "6826 Herzog Via",
            "address_line_2": None,
            "district": "Avon",
            "city": "New Patienceburgh",
            "postal_code": "28441",
            "country": "Turkey",
            "phone": "1803 637401",
        }
    ]


def test_a_counterparty_has_its_legal_address() -> None:
    assert models.dim_counterparty(rows("counterparty", {}), rows("address", {})).to_dicts() == [
        {
            "counterparty_id": 2,
            "counterparty_legal_name": "Leannon, Predovic and Morar",
            "counterparty_legal_address_line_1": "6826 Herzog Via",
            "counterparty_legal_address_line_2": None,
            "counterparty_legal_district": "Avon",
            "counterparty_legal_city": "New Patienceburgh",
            "counterparty_legal_postal_code": "28441",
            "counterparty_legal_country": "Turkey",
            "counterparty_legal_phone_number": "1803 637401",
        }
    ]


def test_a_counterparty_whose_address_is_not_there_stays() -> None:
    result = models.dim_counterparty(rows("counterparty", {"legal_address_id": 99}), rows("address", {}))
    name, unknown = "Leannon, Predovic and Morar", "Unknown"
    assert result.rows() == [(2, name, unknown, None, None, unknown, unknown, unknown, unknown)]


def test_an_edit_of_an_address_reaches_the_location_and_every_counterparty_there() -> None:
    counterparties = rows("counterparty", {"counterparty_id": 1}, {"counterparty_id": 2, "legal_address_id": 9}, {})
    address = rows("address", {"phone": "0800"}, {"address_id": 9})
    phones = models.dim_counterparty(counterparties, address)["counterparty_legal_phone_number"].to_list()
    assert phones == ["0800", "1803 637401", "0800"]
    assert models.dim_location(address)["phone"].to_list() == ["0800", "1803 637401"]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("GBP", "Pound Sterling"),
        ("USD", "US Dollar"),
        ("EUR", "Euro"),
        ("XYZ", "Unknown"),
        ("gbp", "Unknown"),
        ("", "Unknown"),
        ("NULL", "Unknown"),
    ],
)
def test_currencies_have_their_name_in_iso_4217(code: str, name: str) -> None:
    assert models.dim_currency(rows("currency", {"currency_code": code})).rows() == [(1, code, name)]


def test_a_design_and_a_payment_type_are_copied() -> None:
    assert models.dim_design(rows("design", {})).rows() == [(5, "Bronze", "/private", "bronze.json")]
    assert models.dim_payment_type(rows("payment_type", {})).rows() == [(1, "SALES_RECEIPT")]


@pytest.mark.parametrize(
    ("day", "parts"),
    [
        ("2024-02-29", (2024, 2, 29, 4, "Thursday", "February", 1)),
        ("2023-01-01", (2023, 1, 1, 7, "Sunday", "January", 1)),
        ("2024-12-30", (2024, 12, 30, 1, "Monday", "December", 4)),
        ("2024-09-30", (2024, 9, 30, 1, "Monday", "September", 3)),
        ("2024-06-30", (2024, 6, 30, 7, "Sunday", "June", 2)),
        ("9999-12-31", (9999, 12, 31, 5, "Friday", "December", 4)),
        ("0001-01-01", (1, 1, 1, 1, "Monday", "January", 1)),
    ],
)
def test_parts_of_a_date(day: str, parts: tuple[Any, ...]) -> None:
    assert models.dim_date(fact_dates(created_date=[day]), NO_DATES, NO_DATES).rows() == [
        (date.fromisoformat(day), *parts)
    ]


def test_every_date_of_every_fact_is_there_once() -> None:
    shared = "2024-11-14"
    result = models.dim_date(
        fact_dates(created_date=[shared, "2024-11-15"], agreed_delivery_date=["2026-08-26", shared]),
        fact_dates(last_updated_date=["2024-11-16"], agreed_payment_date=[shared]),
        fact_dates(payment_date=["2024-01-01"]),
    )
    days = ["2024-01-01", shared, "2024-11-15", "2024-11-16", "2026-08-26"]
    assert result["date_id"].to_list() == [date.fromisoformat(day) for day in days]


def test_dates_of_whole_facts_are_there() -> None:
    facts = [models.fact_sales_order, models.fact_purchase_order, models.fact_payment]
    tables = ["sales_order", "purchase_order", "payment"]
    given_facts = [fact(rows(table, {})) for fact, table in zip(facts, tables, strict=True)]
    used = {value for fact in given_facts for value in fact.row(0) if isinstance(value, date)}
    assert set(models.dim_date(*given_facts)["date_id"]) == used == {date(2024, 11, day) for day in (14, 18, 20)}


def given_rows(table_rows: Callable[[str], pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """What every model of the pipeline gives for rows of the streams."""
    frames = {stream.name: table_rows(stream.name) for stream in pipeline.streams}
    for model in pipeline.models:
        frames[model.name] = model.function(**{name: frames[name] for name in model.inputs})
    return frames


@pytest.mark.parametrize("model", pipeline.models, ids=lambda model: model.name)
def test_no_rows_give_no_rows_of_the_right_table(model: Model) -> None:
    result = given_rows(empty)[model.name]
    assert model.schema.validate(result).height == 0
    assert result.columns == model.schema.column_names()


@pytest.mark.parametrize("model", pipeline.models, ids=lambda model: model.name)
def test_rows_give_rows_of_the_right_table(model: Model) -> None:
    result = given_rows(lambda table: rows(table, {}))[model.name]
    assert model.schema.validate(result).height >= 1
    assert result.columns == model.schema.column_names()


VALUES: dict[pl.DataType, some.SearchStrategy[Any]] = {
    pl.Int32(): some.integers(1, 2**31 - 1),
    pl.Boolean(): some.booleans(),
    pl.String(): some.text(max_size=5),
    MONEY: some.decimals(Decimal("-99999999.99"), Decimal("99999999.99"), places=2),
    pl.Datetime("us"): some.datetimes(),
}


def some_value(name: str, dtype: pl.DataType) -> some.SearchStrategy[Any]:
    return some.dates().map(date.isoformat) if name.endswith("_date") else VALUES[dtype]


def some_rows(table: str) -> some.SearchStrategy[pl.DataFrame]:
    values = {name: some_value(name, dtype) for name, dtype in source_schema(table).items()}
    return some.lists(some.fixed_dictionaries(values), max_size=3).map(lambda changes: rows(table, *changes))


@pytest.mark.parametrize("table", CHANGES)
@settings(max_examples=30)
@given(data=some.data())
def test_chunks_give_what_the_whole_gives(table: str, data: some.DataObject) -> None:
    first, second = data.draw(some_rows(table)), data.draw(some_rows(table))
    function = CHANGES[table]
    whole, chunks = function(pl.concat([first, second])), [function(first), function(second)]
    assert_frame_equal(whole, pl.concat(chunks))
    assert whole.height == first.height + second.height


@settings(max_examples=30)
@given(first=some_rows("payment"), second=some_rows("payment"))
def test_chunks_give_the_dates_of_the_whole(first: pl.DataFrame, second: pl.DataFrame) -> None:
    def dates(payments: pl.DataFrame) -> pl.DataFrame:
        return models.dim_date(NO_DATES, NO_DATES, models.fact_payment(payments))

    assert_frame_equal(
        dates(pl.concat([first, second])), pl.concat([dates(first), dates(second)]).unique().sort("date_id")
    )


def test_models_over_changes_are_all_tested_in_chunks() -> None:
    changes = {stream.name for stream in pipeline.streams if not stream.is_snapshot}
    over_changes = {model.name for model in pipeline.models if changes & set(model.inputs)}
    assert {function.__name__ for function in CHANGES.values()} == over_changes
