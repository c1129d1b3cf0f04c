"""txns.csv read: exact values, each bad record with its reasons and its line, and files that are no CSV."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from millrace.base.errors import ConfigurationError
from millrace.seed_data.stori import transaction_file
from millrace.seed_data.stori.generate import HEADERS, spell
from millrace.seed_data.stori.population import Accounts, DetailTexts, draw_transactions
from tests.seed_data.whole_file import read_whole

GOOD = '409000611074\',29-Jun-17,TRF  FROM,TRUE,29 Jun 17,," 10,00,000.00 ",-12.50\n'


def written(path: Path, *records: str, header: str = HEADERS["spaced"]) -> Path:
    path.write_text(f"{header}\n{''.join(records)}", encoding="utf-8")
    return path


def test_values_are_exact(tmp_path: Path) -> None:
    records = read_whole(written(tmp_path / "a.csv", GOOD)).accepted
    day = date(2017, 6, 29)
    assert records.rows() == [
        (409000611074, day, "TRF  FROM", True, day, None, Decimal("1000000.00"), Decimal("-12.50"))
    ]


def test_spelling_and_reading_give_back_what_was_drawn(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    days = np.datetime64("2016-02-29") + np.arange(2_000)
    drawn = draw_transactions(random, Accounts.open(4), DetailTexts(7), days)
    path = written(tmp_path / "a.csv", spell(drawn, random).write_csv(include_header=False))
    assert read_whole(path).accepted.equals(drawn.select(read_whole(path).accepted.columns))


def test_columns_may_stand_in_any_order_behind_a_byte_order_mark(tmp_path: Path) -> None:
    header = "\ufeffbalance amt,deposit_amt, Withdrawal Amt,VALUE DATE,chip used,TRANSACTION DETAILS,date,account no"
    path = written(tmp_path / "a.csv", "1.00,,2,1-Jan-17,false,,1-Jan-17,5\r\n", header=header)
    assert read_whole(path).accepted["account_no"].to_list() == [5]


@pytest.mark.parametrize(
    ("record", "reasons"),
    [
        ("x,29-Jun-17,a,true,29-Jun-17,1,,3", ["account_no|parse"]),
        (",29-Jun-17,a,true,29-Jun-17,1,,3", ["account_no|nullability"]),
        ("99999999999999999999,29-Jun-17,a,true,29-Jun-17,1,,3", ["account_no|parse"]),
        ("1,31-Feb-17,a,true,29-Jun-2017,1,,3", ["date|parse", "value_date|parse"]),
        ("1,29-Jun-17,a,maybe,29-Jun-17,1,,3", ["chip_used|parse"]),
        ("1,29-Jun-17,a,true,29-Jun-17,1.005,,3", ["withdrawal_amt|parse"]),
        ('1,29-Jun-17,a,true,29-Jun-17,"1,5",,3', ["withdrawal_amt|parse"]),
        ("1,29-Jun-17,a,true,29-Jun-17,10000000000,,3", ["withdrawal_amt|parse"]),
        ("1,29-Jun-17,a,true,29-Jun-17,,1e3,3", ["deposit_amt|parse"]),
        ("1,29-Jun-17,a,true,29-Jun-17,1,2,3", ["exactly_one_amount"]),
        ("1,29-Jun-17,a,true,29-Jun-17,,,3", ["exactly_one_amount"]),
        ("1,29-Jun-17,a,true,29-Jun-17,1,,", ["balance_amt|nullability"]),
        ("1,29-Jun-17,a,true,29-Jun-17,1,,3,4", ["record|too_many_fields"]),
        ("1,29-Jun-17,a,true,29-Jun-17,1", ["balance_amt|nullability"]),
        (f"1,29-Jun-17,{'ü' * 256},true,29-Jun-17,1,,3", ["transaction_details|check__max_characters"]),
        ("1,29-Jun-17,a\0b,true,29-Jun-17,1,,3", ["no_nul_character"]),
    ],
)
def test_a_bad_record_is_rejected_with_its_reasons_and_the_others_stay(
    record: str, reasons: list[str], tmp_path: Path
) -> None:
    before = GOOD.replace("TRF  FROM", '"two\nlines, ""quoted"""')
    records = read_whole(written(tmp_path / "a.csv", before, "\n", f"{record}\n", GOOD, "\n\n"))
    assert len(records.accepted) == 2
    assert records.rejects.select("line", "reasons").rows() == [(5, reasons)]


def test_line_numbers_go_on_from_piece_to_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction_file, "_PIECE_RECORDS", 3)
    two_lines = GOOD.replace("TRF  FROM", '"two\nlines"')
    path = written(tmp_path / "a.csv", *[two_lines, GOOD, "\n", "bad\n"] * 5)
    assert read_whole(path).rejects["line"].to_list() == [6, 11, 16, 21, 26]
    assert len(list(transaction_file.read_transactions(path))) > 1
    assert len(read_whole(path).accepted) == 10


def test_255_characters_are_accepted_whatever_their_bytes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", f"1,29-Jun-17,{'ü' * 255},true,29-Jun-17,1,,3\n")
    assert len(read_whole(path).accepted) == 1


def test_missing_and_empty_details_stay_apart(tmp_path: Path) -> None:
    lines = [f"1,29-Jun-17,{details},true,29-Jun-17,1,,3\n" for details in ("", '""', " x ")]
    assert read_whole(written(tmp_path / "a.csv", *lines)).accepted["transaction_details"].to_list() == [
        None,
        "",
        " x ",
    ]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "a.csv, line 1"),
        (b"\x89PNG\r\n\x1a\n\0\0", "a.csv, line 1"),
        (b"PK\x03\x04\xff\xfe", "a.csv, line 1"),
        (b"id,price\nsecret,2\n", "a.csv, line 1"),
        (HEADERS["spaced"].encode() + b",MORE\n" + GOOD.encode(), "a.csv, line 1"),
        (HEADERS["spaced"].encode() + b"\n" + GOOD.encode() + b'1,29-Jun-17,"secret,true,2,1,,3\n', "record at line 3"),
        (HEADERS["spaced"].encode() + b"\n" + GOOD.encode() * 2 + b"1,secret\xff,a\n", "a.csv, line 4"),
    ],
)
def test_what_is_no_csv_of_transactions_is_refused_whole(content: bytes, place: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_whole(tmp_path / "a.csv")
    assert place in caught.value.place
    assert "comma-separated UTF-8" in caught.value.remedy
    assert "secret" not in str(caught.value)


def test_lines_that_end_with_cr_alone_are_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(f"{HEADERS['spaced']}\n{GOOD}".replace("\n", "\r").encode())
    with pytest.raises(ConfigurationError, match=r"a\.csv: its lines end with CR alone.*LF"):
        read_whole(tmp_path / "a.csv")
