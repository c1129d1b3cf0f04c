"""`millrace test`: fixture rows of the pipelines that ship and of the example, without any server."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.cli.test_init import invoke

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "shop" / "shop"
OF_MONGO = """
from millrace import Incremental, Pipeline, Snapshot, Stream

pipeline = Pipeline(
    name="own",
    streams=[
        Stream("prices", "mongo:shop.prices", "_id", Incremental("updatedAt")),
        Stream("visits", "postgres:public.visits", "id", Snapshot()),
    ],
)
"""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may connect to anything."""

    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("it connects")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def rejected(out: str) -> list[str]:
    return [line.strip() for line in out.splitlines() if ": rejected, " in line]


@pytest.mark.parametrize(
    ("pipeline", "rejects"),
    [
        (
            "stori",
            [
                "transactions.jsonl, line 4: rejected, contract_exactly_one_amount",
                '{"$oid":"6b0e2921609525611914a399"}: rejected, type_mismatch price',
            ],
        ),
        ("totesys", ["sales_order.jsonl, line 4: rejected, contract_nullability units_sold"]),
        ("stocks", ["transaction.jsonl, line 6: rejected, contract_nullability stock_id"]),
        (str(EXAMPLE / "pipelines.py"), ["orders.jsonl, line 3: rejected, contract_nullability customer",
                                         "orders.jsonl, line 4: rejected, contract_min amount"]),
    ],
    ids=["stori", "totesys", "stocks", "shop"],
)  # fmt: skip
def test_fixtures_give_what_is_expected(pipeline: str, rejects: list[str]) -> None:
    code, out, told = invoke("test", pipeline)
    assert (code, told) == (0, "")
    assert rejected(out) == rejects


def test_messages_of_a_queue_and_json() -> None:
    code, out, _ = invoke("test", "events", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["differences"] == []
    reasons = [row["rejected"]["reason"] for row in found["rows"]["events"] if "rejected" in row]
    assert sorted(set(reasons)) == ["not_an_object", "not_json", "type_mismatch"]
    assert {row["context_os_name"] for row in found["rows"]["events"] if "rejected" not in row} == {"iOS", "Android"}


def test_a_difference_is_shown_and_written_on_demand(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EXAMPLE / "fixtures", tmp_path / "fixtures"))
    (folder / "orders.jsonl").write_text((folder / "orders.jsonl").read_text().replace("12.50", "13.00"))
    arguments = ("test", str(EXAMPLE / "pipelines.py"), "--fixtures", str(folder))
    code, out, told = invoke(*arguments)
    assert code == 1
    assert '-{"id":1,"customer":"Ada","amount":"12.50"' in out
    assert '+{"id":1,"customer":"Ada","amount":"13.00"' in out
    assert told == "millrace: the results differ from what is expected; add --write if they are right\n"
    assert invoke(*arguments, "--write")[0] == 0
    assert invoke(*arguments)[0] == 0


def test_extended_json_and_types_of_columns(tmp_path: Path) -> None:
    file, folder = tmp_path / "own.py", tmp_path / "fixtures"
    file.write_text(OF_MONGO)
    folder.mkdir()
    (folder / "prices.jsonl").write_text(
        '{"_id": {"$oid": "5f43a1b2c3d4e5f6a7b8c9d0"}, "amount": {"$numberDecimal": "12.5"}, '
        '"updatedAt": {"$date": "2026-01-05T10:00:00Z"}, "size": {"$numberLong": "7"}, "raw": {"$binary": '
        '{"base64": "AP8=", "subType": "00"}}}\n\n'
    )
    (folder / "visits.jsonl").write_text(
        '{"$types": {"price": "decimal(8,2)", "nothing": "int16"}}\n'
        '{"id": 1, "at": "2026-01-05T10:00:00.5", "day": "2026-01-05", "price": "2", "nothing": null, "tags": ["a"]}\n'
    )
    code, out, told = invoke("test", str(file), "--json")
    assert code == 0, told
    (price,), (visit,) = json.loads(out)["rows"].values()
    assert {name: price[name] for name in ("_id", "amount", "size", "raw")} == {
        "_id": "5f43a1b2c3d4e5f6a7b8c9d0", "amount": "12.500000000", "size": 7, "raw": "00ff",
    }  # fmt: skip
    assert visit == {"id": 1, "at": "2026-01-05T10:00:00.500000", "day": "2026-01-05", "price": "2.00",
                     "nothing": None, "tags": '["a"]'}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "visits.jsonl, line 1: it is no row as JSON"),
        ("[1]", "visits.jsonl, line 1: it is no row as JSON (it is no object). Remedy: write one object in a line"),
        ('{"$types": {"a": "number"}}', "visits.jsonl, line 1: a is of type 'number'. Remedy: choose from boolean"),
    ],
    ids=["no json", "no object", "no type"],
)  # fmt: skip
def test_a_wrong_fixture_is_one_clear_line(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OF_MONGO)
    (tmp_path / "fixtures").mkdir()
    (tmp_path / "fixtures" / "visits.jsonl").write_text(line)
    code, out, told = invoke("test", str(tmp_path / "own.py"))
    assert (code, out, told.count("\n")) == (2, "", 1)
    assert message in told


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "fixtures: there is no file with rows to test. Remedy: write rows into prices.jsonl there"),
        (("visit",), "fixtures: visit.jsonl is named after no stream. Remedy: name it after one of prices, visits"),
    ],
    ids=["none", "misspelt"],
)
@pytest.mark.parametrize("write", [(), ("--write",)], ids=["compare", "write"])
def test_a_test_of_nothing_does_not_pass(
    files: tuple[str, ...], message: str, write: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OF_MONGO)
    for name in files:
        (tmp_path / "fixtures").mkdir()
        (tmp_path / "fixtures" / f"{name}.jsonl").write_text('{"id": 1}\n')
    code, out, told = invoke("test", str(tmp_path / "own.py"), *write)
    assert (code, out) == (2, "")
    assert message in told


def test_separators_of_lines_within_values_stay(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OF_MONGO)
    (tmp_path / "fixtures").mkdir()
    (tmp_path / "fixtures" / "visits.jsonl").write_text('{"id": 1, "note": "a\u2028b\u0085c"}\r\n{"id": 2}\n')
    assert invoke("test", str(tmp_path / "own.py"), "--write")[0] == 0
    code, out, told = invoke("test", str(tmp_path / "own.py"))
    assert (code, told) == (0, "")
    assert "visits: 2 rows" in out
