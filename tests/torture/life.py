"""Steps of the life of a stream, between runs: full read, reload, reset, pause, rename, and loads of what waits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from random import Random

from millrace.warehouse.rename_stream import rename_stream
from millrace.warehouse.stream_life import pause_stream, reset_position, resume_stream
from tests.torture.crash import MANNERS
from tests.torture.history import Ended, History
from tests.torture.judge import Divergence, Kind
from tests.torture.places import TrappedEngine

NOTHING = "-"
LONGEST_COMMAND_STEPS = 40
"""How long a command is, in steps of crash.py."""
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
"""Before every stamp."""


def read_all(history: History, dice: Random) -> str:
    """Everything once more."""
    return _read_whole(history, dice, "full")


def reload(history: History, dice: Random) -> str:
    """Everything into a new table."""
    return _read_whole(history, dice, "reload")


def load_waiting(history: History, dice: Random) -> str:
    """What waits in the lake."""
    return _say(history.load_waiting(_trouble(history, dice))) if history.setting.gathers else NOTHING


def reset(history: History, dice: Random) -> str:
    """The next window begins long ago, or at the beginning."""
    if not history.has_target():
        return NOTHING
    engine, stream, position = history.engine, history.stream, dice.choice((None, LONG_AGO))
    ended = history.command(
        lambda: reset_position(engine.warehouse, engine.pipeline(stream), stream, position, "reset"),
        _trouble(history, dice),
    )
    return f"{position}: {_say(ended)}"


def pause(history: History, dice: Random) -> str:
    """A command with one setting pauses, one resumes, and runs with either setting know it, also one that asks
    meanwhile."""
    engines = [*history.engines.values()]
    history.judge_pauses(is_paused=False)
    said = []
    for is_paused, act in ((True, _pause), (False, _resume)):
        engine, asking = dice.choice(engines), dice.choice(engines)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(asking.warehouse.find_pauses, asking.pipeline(history.stream))
            ended = history.command(lambda: act(engine, history), _trouble(history, dice))  # noqa: B023 - called now
            asked.exception()
        if ended is not None:
            # A person whose command died types it again.
            history.command(lambda: act(engine, history))  # noqa: B023 - called now
        history.judge_pauses(is_paused=is_paused)
        said.append(_say(ended))
    return ", ".join(said)


def rename(history: History, dice: Random) -> str:
    """The declaration has the other name."""
    if not history.has_target():
        return NOTHING
    old = history.stream.name
    new = next(name for name in history.names if name != old)
    ended = history.command(lambda: _rename(history, old, new), _trouble(history, dice))
    return f"{old} to {new}: {_say(ended)}"


def _rename(history: History, old: str, new: str) -> None:
    engine, declared = history.engine, history.declare(new)
    try:
        rename_stream(engine.warehouse, engine.pipeline(declared), old, declared, "rename")
    finally:
        history.go_by(new if history.view.is_loaded(new) else old)
    if history.view.stream != new:
        raise Divergence("a rename ended, and the ledger has the former name")


def _pause(engine: TrappedEngine, history: History) -> None:
    pause_stream(engine.warehouse, engine.pipeline(history.stream), history.stream, "torture")


def _resume(engine: TrappedEngine, history: History) -> None:
    resume_stream(engine.warehouse, engine.pipeline(history.stream), history.stream)


def _read_whole(history: History, dice: Random, kind: Kind) -> str:
    history.view.expire_lease()
    return history.run(kind, trouble=_trouble(history, dice, 2 * LONGEST_COMMAND_STEPS))


def _trouble(history: History, dice: Random, steps: int = LONGEST_COMMAND_STEPS) -> Callable[[], None]:
    """Half of the time the command dies at one of its steps."""
    if dice.random() < 0.5:
        return lambda: None
    step, manner = dice.randrange(1, steps), dice.choice(MANNERS)
    return lambda: history.engine.trap.arm(step, manner)


def _say(ended: Ended) -> str:
    return "done" if ended is None else type(ended).__name__
