"""A mask that is declared later: the report tells which values no read masks any more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from millrace import Append, Hash, Partial, Redact, Snapshot, Stream
from millrace.declaration.consent import Consent
from millrace.declaration.masks import Mask
from millrace.runs.choose import ReadRequest
from tests.support.engine import Engine
from tests.support.notes import NOTES, create_notes

KEYS = {"default": "a key"}
TOLD = (
    "rows hold values of body that its mask does not make: they were loaded before the mask was declared, and no read "
    "writes them again (`millrace reload "
)


def find_told(result: Any) -> list[str]:
    return [remark for remark in result.warnings if "mask" in remark]


@pytest.mark.parametrize("mask", [Redact(), Partial(), Hash()], ids=["redact", "partial", "hash"])
@pytest.mark.parametrize("policy", ["soft", "ignore", "hard"])
async def test_values_of_rows_that_the_source_has_no_more(either: Engine, policy: Any, mask: Mask) -> None:
    engine = replace(either, mask_keys=KEYS)
    stream = replace(NOTES, deletes=policy)
    create_notes(engine, 3)
    await engine.run(stream)
    engine.source("DELETE FROM notes WHERE id = 2")
    masked = replace(stream, mask={"body": mask})
    result = await engine.sweep(masked)
    assert [text.startswith(f"1 {TOLD}") for text in find_told(result)] == ([] if policy == "hard" else [True])
    assert ("notes 2" in str(engine.rows("notes"))) == (policy != "hard")
    assert "notes 1" not in str(engine.rows("notes"))
    result = await engine.run(masked, ReadRequest("reload", consent=Consent(allow_deletes=True)))
    assert find_told(result) == []
    assert "notes" not in str(engine.rows("notes"))


async def test_rows_that_were_added(either: Engine) -> None:
    stream = Stream("notes", "postgres:public.notes", "id", Snapshot(), load=Append())
    create_notes(either, 2)
    await either.run(stream)
    (told,) = find_told(await either.run(replace(stream, mask={"body": Redact()})))
    assert told.startswith(f"2 {TOLD}")


async def test_a_mask_from_the_beginning_is_no_remark(either: Engine) -> None:
    stream = replace(NOTES, deletes="soft", mask={"body": Redact()})
    create_notes(either, 2)
    assert find_told(await either.run(stream)) == []
    either.source("DELETE FROM notes WHERE id = 2")
    assert find_told(await either.sweep(stream)) == []
