"""Tables of what the errors of a driver mean: one translation for all drivers.

A driver's module describes an error as a ``Said`` and lists what errors mean; the first meaning that fits is raised.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass

from millrace.base.errors import MillraceError

WRONG_CONDITION = "correct where= of the stream, which is SQL of its source, if it declares one; else"
"""The beginning of the remedy for a statement that the source does not understand."""
Code = int | str
"""A number of MySQL or MongoDB, a SQLSTATE, a word of AWS."""


@dataclass(frozen=True)
class Said:
    """What a driver tells of an error."""

    error: BaseException
    code: Code = ""
    words: str = ""
    """The words of the server or the driver, in which signs are looked for. They may hold values and secrets."""
    status: int = 0
    """The status of an HTTP answer; 0: there was none."""
    labels: frozenset[str] = frozenset()
    """The labels that MongoDB puts on an error."""


@dataclass(frozen=True)
class Meaning:
    """What errors mean to a person. It fits an error that has one of the codes, classes, signs, statuses or labels."""

    kind: type[MillraceError]
    remedy: str
    instead: str = ""
    """What is told in place of the words of the server; '': these words."""
    codes: Container[Code] = ()
    states: tuple[str, ...] = ()
    """Beginnings of codes: classes of SQLSTATE."""
    classes: tuple[type[BaseException], ...] = ()
    signs: tuple[str, ...] = ()
    """Regular expressions that are looked for in the words."""
    statuses: Container[int] = ()
    labels: frozenset[str] = frozenset()

    def fits(self, said: Said) -> bool:
        """Whether an error means this."""
        return (
            said.code in self.codes
            or str(said.code).startswith(self.states)
            or isinstance(said.error, self.classes)
            or any(re.search(sign, said.words) for sign in self.signs)
            or said.status in self.statuses
            or not self.labels.isdisjoint(said.labels)
        )

    def make_error(self, problem: str, place: str) -> MillraceError:
        """Return the error to raise."""
        return self.kind(self.instead or problem, place=place, remedy=self.remedy)


def find_meaning(meanings: Iterable[Meaning], said: Said) -> Meaning | None:
    """Return the first meaning that fits an error; None: none does."""
    return next((meaning for meaning in meanings if meaning.fits(said)), None)
