"""Changes that the deploy command made to an environment, or would make."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What was done, in the same word for every kind of thing."""

    CREATED = "created"
    UPDATED = "updated"
    REMOVED = "removed"
    UNCHANGED = "unchanged"
    LEFT = "left"
    """Left as it is, because a person has to do something first or wants it so; the detail says what."""


@dataclass(frozen=True)
class StackChange:
    """One change of an environment: what kind of thing, which one, what was done, and why or what to do."""

    kind: str
    name: str
    action: Action
    detail: str = ""

    @property
    def is_none(self) -> bool:
        """Whether there was nothing to do."""
        return self.action in (Action.UNCHANGED, Action.LEFT)


def of_line(kind: str, line: str) -> StackChange:
    """Parse a line that another command printed.

    It is ``created name`` or ``updated (paused) name``; any other line is a message for people.
    """
    action, _, name = line.partition(" ")
    if action not in set(Action):
        return StackChange(kind, "", Action.LEFT, line)
    if name.startswith("("):
        detail, _, name = name.partition(") ")
        return StackChange(kind, name, Action(action), detail.strip("("))
    return StackChange(kind, name, Action(action))
