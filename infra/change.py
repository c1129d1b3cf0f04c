"""What the deploy command did to a thing, or would do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """In the words of all steps."""

    CREATED = "created"
    UPDATED = "updated"
    REMOVED = "removed"
    UNCHANGED = "unchanged"
    LEFT = "left"
    """As it is, because a person has to do something first or wants it so; the detail says what."""


@dataclass(frozen=True)
class StackChange:
    """One thing: of which kind, which one, what was done, and why or what to do."""

    kind: str
    name: str
    action: Action
    detail: str = ""

    @property
    def is_none(self) -> bool:
        """Whether there was nothing to do."""
        return self.action in (Action.UNCHANGED, Action.LEFT)


def of_line(kind: str, line: str) -> StackChange:
    """From what other commands print: ``created name``, ``updated (paused) name``; other words are for a person."""
    action, _, name = line.partition(" ")
    if action not in set(Action):
        return StackChange(kind, "", Action.LEFT, line)
    if name.startswith("("):
        detail, _, name = name.partition(") ")
        return StackChange(kind, name, Action(action), detail.strip("("))
    return StackChange(kind, name, Action(action))
