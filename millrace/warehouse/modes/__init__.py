"""Load modes at work: one module each, chosen by what is declared (load_modes.py).

What does not belong here: anything else.
"""

from __future__ import annotations

from millrace.declaration.load_modes import Append, History, Merge, Replace, Scd2
from millrace.warehouse.modes.history import HistoryMode
from millrace.warehouse.modes.logs import LogsMode
from millrace.warehouse.modes.merge import AppendMode, MergeMode
from millrace.warehouse.modes.mode import Mode
from millrace.warehouse.modes.replace import ReplaceMode
from millrace.warehouse.modes.states import StatesMode
from millrace.warehouse.target import Target


def mode_of(target: Target) -> Mode:
    """What the target's load mode does."""
    match target.load:
        case History() as load:
            return HistoryMode(target, load)
        case Scd2() as load:
            return LogsMode(target, load) if load.changes else StatesMode(target, load)
        case Append():
            return AppendMode(target)
        case Replace():
            return ReplaceMode(target)
        case Merge():
            return MergeMode(target)
    raise AssertionError(f"no such mode: {target.load}")
