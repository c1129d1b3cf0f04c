"""Generated files: the same for the same seed, at any size, with every quirk of the real ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

from millrace.seed_data.stori import generate
from millrace.seed_data.stori.generate import HEADERS, Header, generate_trades, generate_transactions
from tests.seed_data.whole_file import read_whole

SAMPLES = Path(generate.__file__).parent / "samples"


@pytest.fixture(scope="module")
def transactions_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stori") / "txns.csv"
    generate_transactions(path, rows=60_000)
    return path


@pytest.fixture(scope="module")
def trades(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    path = tmp_path_factory.mktemp("stori") / "trades.json"
    generate_trades(path, documents=3_000)
    return json.loads(path.read_text(encoding="utf-8"))["data"]


@pytest.mark.parametrize(("name", "header"), [("txns.csv", "spaced"), ("txns_underscored.csv", "underscored")])
def test_committed_transactions_are_what_the_generator_writes(name: str, header: Header, tmp_path: Path) -> None:
    generate_transactions(tmp_path / name, rows=50, header=header)
    assert (tmp_path / name).read_bytes() == (SAMPLES / name).read_bytes()


def test_committed_trades_are_what_the_generator_writes(tmp_path: Path) -> None:
    generate_trades(tmp_path / "trades.json", documents=50)
    assert (tmp_path / "trades.json").read_bytes() == (SAMPLES / "trades.json").read_bytes()


def test_another_seed_gives_other_files(tmp_path: Path) -> None:
    for seed in (1, 2):
        generate_transactions(tmp_path / f"{seed}.csv", rows=20, seed=seed)
        generate_trades(tmp_path / f"{seed}.json", documents=20, seed=seed)
    assert (tmp_path / "1.csv").read_bytes() != (tmp_path / "2.csv").read_bytes()
    assert (tmp_path / "1.json").read_bytes() != (tmp_path / "2.json").read_bytes()


def test_every_generated_transaction_meets_the_contract(transactions_path: Path) -> None:
    records = read_whole(transactions_path)
    assert (len(records.accepted), len(records.rejects)) == (60_000, 0)
    assert records.accepted["account_no"].n_unique() == 10


def test_balance_is_the_running_sum_of_its_account_across_pieces(transactions_path: Path) -> None:
    moved = pl.col("deposit_amt").fill_null(0) - pl.col("withdrawal_amt").fill_null(0)
    records = read_whole(transactions_path).accepted
    expected = records.select(moved.cum_sum().over("account_no").cast(pl.Decimal(14, 2)))
    assert records["balance_amt"].equals(expected.to_series(), check_names=False)
    assert records["balance_amt"].min() < 0
    assert records["date"].is_sorted()


@pytest.mark.parametrize(
    "quirk",
    [
        r"(?m)^\d+',",  # stray quote behind the account number
        r"(?m)^\d+,",
        r",\d\d-[A-Z][a-z]{2}-\d\d,",
        r",\d\d [A-Z][a-z]{2} \d\d,",
        r'" -?\d{1,3},\d{3},\d{3}\.\d\d "',
        r'" -?\d{1,2},\d{2},\d{3}\.\d\d "',  # Indian grouping
        r", -?\d+\.\d\d ,",
        r",,(true|false),",  # missing details
        r',"",(true|false),',  # empty details, which is something else
        r',"[^",\n]+\n[^"\n]+",(true|false),',  # a newline inside details
        r'""[^"]+""',
        *(f"[a-z0-9 ]{mark}" for mark in "/:%@"),
        r"[a-z]  [a-z]",
    ],
)
def test_transactions_have_the_quirk(quirk: str, transactions_path: Path) -> None:
    assert re.search(quirk, transactions_path.read_text(encoding="utf-8"), re.IGNORECASE)


@pytest.mark.parametrize("header", ["spaced", "underscored"])
def test_header_spellings(header: Header, tmp_path: Path) -> None:
    generate_transactions(tmp_path / "txns.csv", rows=3, header=header)
    assert (tmp_path / "txns.csv").read_text(encoding="utf-8").split("\n")[0] == HEADERS[header]
    assert len(read_whole(tmp_path / "txns.csv").accepted) == 3


def test_trades_have_the_quirks(trades: list[dict]) -> None:
    assert "ticket" not in trades[0]
    assert 0.2 < sum("ticket" not in trade for trade in trades) / len(trades) < 0.4
    assert any(trade["ticker"] is None for trade in trades)
    assert 380 < len({trade["ticket"] for trade in trades if "ticket" in trade}) <= 400
    assert len({trade["id"] for trade in trades}) == len(trades)
    for trade in trades:
        assert re.fullmatch(r"[0-9a-f]{24}", trade["id"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", trade["time"]["date"])
        assert [len(trade["details"][name]) for name in ("asks", "bids")] == [3, 4]


def test_no_rows_give_a_file_with_a_header_only(tmp_path: Path) -> None:
    generate_transactions(tmp_path / "txns.csv", rows=0)
    generate_trades(tmp_path / "trades.json", documents=0)
    assert (tmp_path / "txns.csv").read_text(encoding="utf-8").count("\n") == 1
    assert json.loads((tmp_path / "trades.json").read_bytes()) == {"data": []}
