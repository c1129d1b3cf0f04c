"""A plan says that a run would delete too many rows, exactly where the run is refused for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from millrace import Snapshot, Stream
from millrace.base.errors import TooManyDeletes
from millrace.declaration.consent import NO_CONSENT, Consent
from millrace.runs.choose import Mode, ReadRequest, choose
from millrace.runs.context import StreamContext
from millrace.runs.foreseen_deletes import foresee_deletes
from millrace.runs.sample import take_sample
from tests.support.engine import Engine, pipeline_of
from tests.support.notes import NOTES, create_notes

SNAPSHOT = replace(NOTES, capture=Snapshot())


async def foresee(engine: Engine, stream: Stream, mode: Mode, consent: Consent = NO_CONSENT) -> str:
    with engine._source(stream) as source:
        context = StreamContext(source, engine.landing(), engine.warehouse, pipeline_of(stream), stream, consent)
        read_plan = await choose(context, ReadRequest(mode))
        return await foresee_deletes(context, read_plan, (await take_sample(context, read_plan.window))[0])


@pytest.mark.parametrize(("kept_rows", "is_refused"), [(100, False), (99, True), (0, True)])
@pytest.mark.parametrize(("stream", "mode"), [(NOTES, "sweep"), (SNAPSHOT, "incremental")], ids=["sweep", "snapshot"])
async def test_too_many_deletes_are_foreseen(
    engine: Engine, stream: Stream, mode: Mode, kept_rows: int, is_refused: bool
) -> None:
    create_notes(engine, 200)
    await engine.run(stream)
    assert await foresee(engine, stream, mode) == ""
    engine.source(f"DELETE FROM notes WHERE id > {kept_rows}")
    said = await foresee(engine, stream, mode)
    foreseen = f"the run would be refused: the source has {kept_rows} rows, the target 200, and a run may delete 50%"
    assert (foreseen in said) == is_refused
    assert await foresee(engine, stream, mode, Consent(allow_deletes=True)) == ""
    assert await foresee(engine, replace(stream, deletes="ignore"), mode) == ""
    if is_refused:
        with pytest.raises(TooManyDeletes):
            await engine.run(stream, ReadRequest(mode))
    else:
        await engine.run(stream, ReadRequest(mode))
