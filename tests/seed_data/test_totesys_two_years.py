"""Two years of the simulated back office: its volumes, its hours, and every trap of real dumps, counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from local.stack import Stack
from millrace.seed_data.totesys.arrivals import arrivals
from millrace.seed_data.totesys.days import Calendar, is_weekday
from millrace.seed_data.totesys.happened import Happened
from millrace.seed_data.totesys.quiet import quiet_events
from millrace.seed_data.totesys.simulation import TotesysSimulation, install
from millrace.seed_data.totesys.world import TotesysWorld
from tests.conftest import unique

START, DAYS = date(2024, 1, 1), 730
BIG_FOUR = ("sales_order", "purchase_order", "transaction", "payment")

Ask = Callable[[str], Any]


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Iterator[tuple[Any, Happened]]:
    name = unique("totesys")
    with closing(psycopg2.connect(stack.postgres.create_database(name))) as connection:
        install(connection)
        yield connection, TotesysSimulation(connection, 1, START).fill(DAYS)
    stack.postgres.drop_database(name)


@pytest.fixture
def ask(filled: tuple[Any, Happened]) -> Ask:
    """The one value that a question has for an answer, or the row of them."""

    def answer(question: str) -> Any:
        with filled[0] as connection, connection.cursor() as cursor:
            cursor.execute(question)
            [row] = cursor.fetchall()
            return row[0] if len(row) == 1 else row

    return answer


@pytest.mark.parametrize(
    ("table", "expected", "margin"),
    [
        ("sales_order", 11_187, 60),
        ("purchase_order", 4_649, 40),
        ("transaction", 15_836, 80),
        ("payment", 15_836, 80),
        ("design", 473, 6),
        ("address", 30, 0),
        ("counterparty", 20, 0),
        ("staff", 20, 0),
        ("department", 8, 0),
        ("currency", 3, 0),
        ("payment_type", 4, 0),
    ],
)
def test_volumes_are_those_of_real_dumps(
    table: str, expected: int, margin: int, ask: Ask, filled: tuple[Any, Happened]
) -> None:
    held = ask(f"SELECT count(*) FROM {table}")
    counts = filled[1].of_table(table)
    assert held == counts.inserted - counts.deleted
    assert abs(held - expected) <= margin


def test_everything_happens_in_working_hours(ask: Ask) -> None:
    outside = "extract(isodow FROM {0}) > 5 OR {0}::time NOT BETWEEN '08:00' AND '18:59:59.999'"
    for table in (*BIG_FOUR, "design"):
        condition = outside.format("created_at")
        assert ask(f"SELECT count(*) FROM {table} WHERE ({condition}) AND created_at::date > '2024-01-01'") == 0
    job = "table_name = 'payment' AND NOT is_silent AND row IS NOT NULL AND row->>'paid' = 'true'"
    assert ask(
        f"SELECT count(*) FROM simulation.history WHERE NOT ({job}) AND ({outside.format('changed_at')}) "
        "AND changed_at > '2024-01-01 00:00:01+00'"
    ) == (0)


def test_an_order_its_transaction_and_its_payment_agree(ask: Ask) -> None:
    for table, price in (
        ("sales_order", "units_sold * unit_price"),
        ("purchase_order", "item_quantity * item_unit_price"),
    ):
        wrong = f"""
            SELECT count(*), count(*) FILTER (WHERE payment_amount <> {price}
                OR paid_for.created_at <> placed.created_at OR made.created_at <> placed.created_at
                OR paid_for.payment_date <> placed.agreed_payment_date)
            FROM {table} AS placed JOIN transaction AS made USING ({table}_id)
            JOIN payment AS paid_for USING (transaction_id)
        """
        compared, different = ask(wrong)
        assert compared > 4_000
        assert different == 0
    assert ask("SELECT count(*) FROM transaction WHERE num_nonnulls(sales_order_id, purchase_order_id) <> 1") == 0


def test_agreed_dates_are_near_and_sometimes_far(ask: Ask) -> None:
    later = "SELECT min({0}::date - created_at::date), max({0}::date - created_at::date) FROM sales_order"
    assert ask(later.format("agreed_payment_date")) == (0, 6)
    near = "SELECT count(*) FROM sales_order WHERE agreed_delivery_date::date - created_at::date {}"
    assert ask(near.format("> 30")) in range(15, 60)
    assert ask(near.format("> 650 + 14")) == 0
    assert ask(near.format("< 0")) == 0


def test_the_job_pays_what_is_due_with_one_stamp(ask: Ask) -> None:
    days, paid, mean = ask(
        "SELECT count(*), sum(payments), avg(payments) FROM "
        "(SELECT count(*) AS payments FROM payment WHERE paid GROUP BY last_updated) AS run"
    )
    assert days in range(510, 523)
    assert paid > 8_500
    assert 16 < mean < 20
    assert ask("SELECT count(DISTINCT last_updated) FROM payment WHERE paid") == days
    assert ask("SELECT count(*) FROM payment WHERE paid AND last_updated::time NOT BETWEEN '07:55' AND '07:55:01'") == 0
    assert ask("SELECT count(*) FROM payment WHERE paid AND last_updated::date <> payment_date::date") == 0


def test_weekend_and_same_day_payments_stay_unpaid(ask: Ask) -> None:
    never = "extract(isodow FROM payment_date::date) > 5 OR payment_date::date = created_at::date"
    assert ask(f"SELECT count(*) FROM payment WHERE {never}") > 4_000
    assert ask(f"SELECT count(*) FROM payment WHERE paid AND ({never})") == 0
    assert ask(f"SELECT count(*) FROM payment WHERE NOT paid AND NOT ({never}) AND payment_date < '2025-12-31'") == 0


@pytest.mark.parametrize(
    ("table", "column", "least", "most"),
    [
        ("design", "file_location", 90, 210),
        ("sales_order", "agreed_delivery_date", 20, 90),
        ("sales_order", "design_id", 20, 90),
        ("sales_order", "agreed_delivery_location_id", 20, 90),
        ("address", "phone", 2, 25),
        ("department", "department_name", 1, 15),
    ],
)
def test_silent_edits_happen_at_the_measured_rates(table: str, column: str, least: int, most: int, ask: Ask) -> None:
    """44 designs and 39 sales orders in 7 of these 24 months."""
    silent = ask(
        f"""
        SELECT count(*) FROM (
            SELECT is_silent, "row", lag("row") OVER (PARTITION BY key ORDER BY sequence) AS before
            FROM simulation.history WHERE table_name = '{table}'
        ) AS version
        WHERE is_silent AND "row"->'last_updated' = before->'last_updated' AND "row"->'{column}' <> before->'{column}'
            AND "row" - '{column}' = before - '{column}'
        """
    )
    assert least <= silent <= most


def test_silent_edits_leave_last_updated(ask: Ask, filled: tuple[Any, Happened]) -> None:
    edited = "SELECT DISTINCT table_name, key FROM simulation.history WHERE is_silent AND table_name = '{}'"
    for table in ("design", "sales_order"):
        assert (
            ask(
                f"SELECT count(*) FROM {table} JOIN ({edited.format(table)}) e ON key = {table}_id "
                "WHERE last_updated <> created_at"
            )
            == 0
        )
    assert ask("SELECT count(*) FROM simulation.history WHERE is_silent") == filled[1].total.silent > 200


def test_rows_are_deleted_now_and_then(ask: Ask, filled: tuple[Any, Happened]) -> None:
    deleted = {table: counts.deleted for table, counts in filled[1].tables.items() if counts.deleted}
    assert set(deleted) == {"payment", "sales_order", "transaction", "design"}
    assert deleted["sales_order"] == deleted["transaction"] in range(3, 25)
    assert deleted["payment"] > deleted["sales_order"]
    assert ask("SELECT count(*) FROM simulation.history WHERE row IS NULL") == sum(deleted.values())


def test_stamps_tie_and_run_against_the_order_of_ids(ask: Ask) -> None:
    assert ask("SELECT count(*) - count(DISTINCT created_at) FROM payment") in range(5, 40)
    backwards = "(SELECT lag(created_at) OVER (ORDER BY payment_id) - created_at AS back FROM payment) AS step"
    count, least, most = ask(f"SELECT count(*), min(back), max(back) FROM {backwards} WHERE back > '0'")
    assert count in range(10, 50)
    assert timedelta(milliseconds=1) <= least <= most <= timedelta(milliseconds=14)


def test_of_two_equal_stamps_one_is_committed_later(ask: Ask) -> None:
    """So a read may fall between them."""
    tied = """
        SELECT count(*), count(DISTINCT changed_at) FROM simulation.history
        WHERE table_name = 'payment' AND "row"->>'last_updated' = "row"->>'created_at' AND ("row"->>'created_at') IN (
            SELECT "row"->>'created_at' FROM simulation.history WHERE table_name = 'payment'
                AND NOT ("row"->>'paid')::boolean AND NOT is_silent GROUP BY 1 HAVING count(*) > 1)
    """
    count, moments = ask(tied)
    assert count == moments > 5


def test_stamps_have_milliseconds_and_some_none(ask: Ask) -> None:
    assert ask("SELECT count(*) FROM payment WHERE created_at = date_trunc('second', created_at)") in range(4, 40)
    assert ask("SELECT count(*) FROM payment WHERE created_at <> date_trunc('milliseconds', created_at)") == 0


def test_orders_come_before_their_design(ask: Ask) -> None:
    early = "FROM sales_order JOIN design USING (design_id) WHERE sales_order.created_at < design.created_at"
    assert ask(f"SELECT count(*) {early} AND design.created_at < sales_order.created_at + '11 minutes'") in range(
        20, 120
    )
    assert ask("SELECT count(*) FROM sales_order WHERE design_id NOT IN (SELECT design_id FROM design)") == 0


def test_the_reference_data_holds_what_real_dumps_hold(ask: Ask) -> None:
    name, mail = ask("SELECT last_name, email_address FROM staff WHERE last_name = 'O''Keefe'")
    assert (name, "o'keefe@" in mail) == ("O'Keefe", True)
    for question in (
        "department WHERE location = 'Leds'",
        "department WHERE location IS NULL",
        "address WHERE address_line_2 = 'NULL'",
        "counterparty WHERE delivery_contact = 'None'",
    ):
        assert ask(f"SELECT count(*) FROM {question}") == 1, question
    for question in (
        "address_line_2 IS NULL",
        "address_line_2 IS NOT NULL",
        "district IS NULL",
        "district IS NOT NULL",
    ):
        assert ask(f"SELECT count(*) FROM address WHERE {question}") > 3, question
    assert ask("SELECT string_agg(payment_type_name, ' ' ORDER BY payment_type_id) FROM payment_type") == (
        "SALES_RECEIPT SALES_REFUND PURCHASE_PAYMENT PURCHASE_REFUND"
    )


def test_a_day_follows_from_seed_and_date_alone() -> None:
    def of(calendar: Calendar, day: date) -> list[Any]:
        events = [*arrivals(calendar, day), *quiet_events(calendar.seed, day, 3)]
        return [(event.at, event.occur(TotesysWorld())) for event in events]

    days = [date(2024, 5, 6), date(2024, 5, 7)]
    assert [of(Calendar(1, START), day) for day in days] == [of(Calendar(1, START), day) for day in days[::-1]][::-1]
    assert of(Calendar(1, START), days[0]) != of(Calendar(2, START), days[0])


@pytest.mark.parametrize("seed", range(5))
def test_every_working_day_has_transactions_of_both_kinds_and_weekends_none(seed: int) -> None:
    calendar = Calendar(seed, START)
    for number in range(1_000):
        day = START + timedelta(days=number)
        before, after = calendar.before(day), calendar.after(day)
        sales, purchases = after.sales_orders - before.sales_orders, after.purchase_orders - before.purchase_orders
        assert (sales > 0) == (purchases > 0) == is_weekday(day)
        assert after.designs >= before.designs


def test_no_two_events_of_a_day_share_a_moment() -> None:
    for number in range(60):
        day = START + timedelta(days=number)
        if is_weekday(day):
            moments = [event.at for event in (*arrivals(Calendar(3, START), day), *quiet_events(3, day, 500))]
            assert len(set(moments)) == len(moments)
            assert min(moments) >= datetime(day.year, day.month, day.day, 8, tzinfo=UTC)
