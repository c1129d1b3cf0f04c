"""Which answers of a source are cut short: by a limit of its server, or by a driver that breaks promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from millrace.sources.chunk import Source
from tests.support.altered_source import AlteredSource, Question

QUESTIONS: tuple[Question, ...] = ("rows", "keys", "scan")


@dataclass(frozen=True)
class Cut:
    """At most so many rows or keys of each chunk are the answer to these questions."""

    questions: tuple[Question, ...]
    most: int

    def applied_to(self, source: Source) -> AlteredSource:
        """The source with its answers cut."""
        return AlteredSource(source, dict.fromkeys(self.questions, self._shorten))

    def _shorten(self, answer: Any) -> Any:
        return (
            answer.head(self.most) if isinstance(answer, pl.DataFrame) else set(sorted(answer, key=repr)[: self.most])
        )
