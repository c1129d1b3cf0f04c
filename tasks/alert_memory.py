"""Remember which faults people were told of, so that a fault that lasts is told with growing pauses, and its end once.

The memory of a pipeline is a variable of Prefect: runs are in containers that keep nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from prefect.variables import Variable

PAUSES = (timedelta(0), timedelta(hours=1), timedelta(hours=4), timedelta(hours=24))
"""How long after the first alert, the second and so on the next one is sent; the last pause repeats."""
Occasion = Literal["first", "again", "recovered"]
Memory = dict[str, dict[str, str | int]]
"""By fault: since when it lasts, when people were told last, and how often."""


async def choose_occasions(pipeline: str, faults: Mapping[str, bool]) -> dict[str, Occasion]:
    """Return the faults that people are to be told of now, and remember that they were told.

    ``faults`` says of each fault that was looked for whether it was found. Of one that is found for the first time
    people are told at once, of one that lasts after growing pauses, and of one that ended once.
    """
    name = f"millrace_alerts_{pipeline}"
    memory: Memory = await Variable.aget(name, default={}) or {}
    occasions, changed = decide(memory, faults, datetime.now(UTC))
    if changed != memory:
        await Variable.aset(name, changed, overwrite=True)
    return occasions


def decide(memory: Memory, faults: Mapping[str, bool], now: datetime) -> tuple[dict[str, Occasion], Memory]:
    """Return the faults to tell of at a moment, and the memory after that."""
    occasions: dict[str, Occasion] = {}
    after = dict(memory)
    for fault, is_found in faults.items():
        known = memory.get(fault)
        if not is_found:
            if after.pop(fault, None) is not None:
                occasions[fault] = "recovered"
        elif known is None:
            occasions[fault] = "first"
            after[fault] = {"since": now.isoformat(), "told": now.isoformat(), "times": 1}
        else:
            times = int(known["times"])
            if now - datetime.fromisoformat(str(known["told"])) >= PAUSES[min(times, len(PAUSES) - 1)]:
                occasions[fault] = "again"
                after[fault] = {**known, "told": now.isoformat(), "times": times + 1}
    return occasions, after
