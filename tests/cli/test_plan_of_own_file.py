"""What `millrace plan` says of a file of one's own: what a run would reject, and what it refuses, by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local.stack import Stack
from millrace.declaration.lines import find_line
from tests.cli.test_init import invoke

DECLARED = """
import dataframely as dy

from millrace import Incremental, Pipeline, Snapshot, Stream


class Order(dy.Schema):
    id = dy.Int32(primary_key=True)
    amount = dy.Decimal(10, 2, nullable=True, min=0)


class Other(dy.Schema):
    color = dy.String()


shop = Pipeline(
    name="shop",
    streams=[
        Stream("orders", "postgres:public.orders", "id", Snapshot(), contract=Order),
        Stream("others", "postgres:public.orders", "id", Snapshot(), contract=Other),
    ],
)
"""


@pytest.fixture
def folder(bootstrapped: dict[str, str], stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the file shop.py, whose table has two rows."""
    name = bootstrapped["SOURCE_POSTGRES_URL"].rpartition("/")[2]
    stack.postgres.execute(
        f"SET ROLE {name}; CREATE TABLE orders (id int PRIMARY KEY, amount numeric(10, 2)); "
        "INSERT INTO orders VALUES (1, 5), (2, -1), (3, -2)",
        database=name,
    )
    (tmp_path / "shop.py").write_text(DECLARED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sample_goes_through_the_contract(folder: Path, stack: Stack) -> None:
    code, out, told = invoke("plan", "shop.py:shop", "--stream", "orders")
    assert code == 0, told
    assert "sample all 3 rows: rejected 2 contract_min amount" in out
    code, out, _ = invoke("plan", "shop.py:shop", "--stream", "orders", "--json")
    (plan,) = json.loads(out)["plans"]
    assert plan["sample"] == {
        "rows": 3,
        "rejects": [{"reason": "contract_min", "field": "amount", "rows": 2}],
        "is_whole": True,
    }
    assert stack.postgres.execute("SELECT to_regclass('shop.orders')", database=stack.warehouse.database) == [(None,)]


def test_a_contract_that_no_row_can_meet_is_refused_with_its_line(folder: Path) -> None:
    code, out, told = invoke("plan", "shop.py:shop")
    assert code == 2
    assert "contract names 'color', and there is no such column" in told
    assert f"(declared at {folder}/shop.py, line 20)" in " ".join(out.split())
    assert "sample all 3 rows" in out


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "Snapshot(), contract=Order",
            'Incremental(""), contract=Order',
            "line 19, Incremental of cursor '': cursor is ''",
        ),
        ("contract=Other)", 'deletes="maybe")', "line 20, stream others: deletes is 'maybe'. Remedy: choose from hard"),
        ("contract=Other)", "contrakt=Other)", "line 20: it cannot be imported (TypeError"),
        ("import dataframely as dy", "import dataframelyy as dy", "line 2: it cannot be imported (ModuleNotFoundError"),
        ("shop = Pipeline(", "shop = Pipeline((", "line 16: it cannot be imported (SyntaxError"),
        ("shop = Pipeline(", "other = Pipeline(", "'shop' is not a Pipeline. Remedy: name other after a colon"),
    ],
    ids=["word", "choice", "argument", "import", "syntax", "attribute"],
)
def test_a_wrong_file_is_one_line_with_file_and_line(before: str, after: str, message: str) -> None:
    Path("shop.py").write_text(DECLARED.replace(before, after, 1))
    code, out, told = invoke("plan", "shop.py:shop")
    assert (code, out, told.count("\n")) == (2, "", 1)
    assert message in told
    assert "shop.py" in told


@pytest.mark.usefixtures("folder")
def test_a_file_alone_means_its_attribute_pipeline() -> None:
    assert "'pipeline' is not a Pipeline. Remedy: name shop after a colon" in invoke("plan", "shop.py")[2]
    Path("shop.py").write_text(DECLARED.replace("shop = Pipeline", "pipeline = Pipeline").replace("Other)", "None)"))
    assert invoke("plan", "shop.py")[0] == 0


def test_a_line_is_that_of_the_pipeline_that_was_named(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    file.write_text('first = Pipeline(streams=[Stream("a")])\nsecond = Pipeline(streams=[Stream("a"), shared])\n')
    assert find_line(f"{file}:second", "a") == f"{file}, line 2"
    assert find_line(f"{file}:first", "a") == f"{file}, line 1"
