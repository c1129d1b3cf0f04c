"""docs/totesys.md says what the code does: tables, columns, NULLs, views."""

from __future__ import annotations

import re
from pathlib import Path

import dataframely as dy
import pytest

from millrace import Model
from millrace.pipelines.totesys import pipeline

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "totesys.md").read_text(encoding="utf-8")
VIEWS = (REPOSITORY / "sql" / "totesys" / "views.sql").read_text(encoding="utf-8")
TABLE_LINE = re.compile(r"^\| `((?:fact|dim)_\w+)` \| ((?:`\w+\??` ?)+)\|$", re.MULTILINE)
DOCUMENTED = {table: re.findall(r"`(\w+\??)`", columns) for table, columns in TABLE_LINE.findall(PAGE)}


def as_documented(schema: type[dy.Schema]) -> list[str]:
    return [name + "?" * column.nullable for name, column in schema.columns().items()]


def test_every_table_is_documented() -> None:
    assert set(DOCUMENTED) == {model.name for model in pipeline.models}


@pytest.mark.parametrize("model", pipeline.models, ids=lambda model: model.name)
def test_columns_and_their_nulls_are_documented(model: Model) -> None:
    assert as_documented(model.schema) == DOCUMENTED[model.name]
    assert model.keys == (DOCUMENTED[model.name][0],)


def test_every_view_is_documented_and_made() -> None:
    made = re.findall(r"^CREATE OR REPLACE VIEW totesys\.(\w+) AS$", VIEWS, re.MULTILINE)
    section = PAGE.split("## Views")[1]
    listed = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?`) \| ", section, re.MULTILINE)))
    assert sorted(listed) == sorted(made)
    assert len(made) == VIEWS.count("CREATE")
