"""What a source can do besides when its change log is read (millrace/change_logs)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import polars as pl

from millrace.base.types import Column
from millrace.declaration.stream import Stream
from millrace.sources.chunk import Source


class LogSource(Source):
    """A source of which a change log tells what changed."""

    @abstractmethod
    def within(self, snapshot: Any) -> Source:
        """Return the same source, of which every read sees this snapshot. The log of the same kind opened it."""

    @abstractmethod
    async def type_keys(
        self, stream: Stream, target_columns: Sequence[Column], keys: pl.DataFrame
    ) -> tuple[pl.DataFrame, bool]:
        """Give keys, in the form in which the change log tells them, the types and column names of the stream.

        Return a row for each key, in their order, and whether all of them have values that these types can hold.
        """
