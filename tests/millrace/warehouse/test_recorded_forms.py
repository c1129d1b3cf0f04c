"""Forms that a former commit recorded in the ledger: they are read without a loss, and declarations have them still."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from millrace import Merge, Model, Stream
from millrace.declaration.find import find_pipeline
from millrace.declaration.load_mode_base import load_mode_named
from millrace.warehouse.declared_target import target_of
from millrace.warehouse.dialect import dialect_for
from millrace.warehouse.schema.form import Form, form_of

RECORDED = orjson.loads((Path(__file__).parent / "forms_of_9bb0616.json").read_bytes())
DIALECT = dialect_for("postgresql+psycopg2")


@pytest.mark.parametrize("member", sorted(RECORDED))
def test_a_recorded_form_is_read_without_a_loss(member: str) -> None:
    text = orjson.dumps(RECORDED[member], option=orjson.OPT_SORT_KEYS).decode()
    assert Form.from_json(text).as_json() == text


@pytest.mark.parametrize("member", sorted(RECORDED))
def test_the_same_declaration_has_the_same_form(member: str) -> None:
    """Otherwise the first load after an upgrade would refuse the table, or compute a model again."""
    pipeline_name, name = member.split(".")
    pipeline = find_pipeline(pipeline_name)
    members: list[Stream | Model] = [*pipeline.streams, *pipeline.models]
    declared = next(one for one in members if one.name == name)
    assert orjson.loads(form_of(target_of(pipeline, declared, DIALECT)).as_json()) == RECORDED[member]


def test_a_load_mode_that_inherits_from_another_is_known_by_its_name() -> None:
    @dataclass(frozen=True)
    class InheritedMerge(Merge):
        """A mode of a user."""

    assert load_mode_named("InheritedMerge") is InheritedMerge
