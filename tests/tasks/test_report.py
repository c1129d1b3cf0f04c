"""The row of a stream in the run's report: what was left behind, and what was really read, is said in its note."""

from __future__ import annotations

import pytest

from millrace import Incremental, Pipeline, Stream
from millrace.tasks.report import make_report
from millrace.warehouse.ledger.load_result import LoadResult

SHOP = Pipeline("shop", [Stream("sales", "postgres:public.sales", "id", Incremental("at"))])


def note_of(pipeline: Pipeline = SHOP, **counts: int) -> str:
    return make_report(pipeline, LoadResult("shop", "sales", "shop.sales", "batch", "sweep", **counts), seconds=1).note


@pytest.mark.parametrize(
    ("rejected", "told"),
    [(1, "1 row was rejected: millrace rejects shop"), (2_000, "2,000 rows were rejected: millrace rejects shop")],
)
def test_rows_that_were_rejected_are_counted_and_it_is_said_how_to_see_them(rejected: int, told: str) -> None:
    assert note_of(read=3_000, unchanged=3_000 - rejected, rejected=rejected) == told


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"read": 500, "deleted": 500}, "the source gave 0 rows; the 500 deleted ones that it lacks count as read"),
        (
            {"read": 1_203, "inserted": 2, "unchanged": 1_200, "deleted": 1},
            "the source gave 1,202 rows; the deleted one that it lacks counts as read",
        ),
        (
            {"read": 2, "unchanged": 1, "deleted": 1},
            "the source gave 1 row; the deleted one that it lacks counts as read",
        ),
    ],
)
def test_rows_that_the_source_lacks_are_not_said_to_be_read_from_it(counts: dict[str, int], told: str) -> None:
    assert note_of(**counts) == told


def test_a_run_that_left_nothing_behind_needs_no_note() -> None:
    assert note_of(read=10, inserted=4, updated=3, unchanged=3) == ""


def test_a_pipeline_of_a_file_is_called_by_its_path_as_a_shell_takes_it() -> None:
    told = note_of(SHOP.with_path("/home/me/my files/shop.py:shop"), read=1, rejected=1)
    assert told == "1 row was rejected: millrace rejects '/home/me/my files/shop.py:shop'"
