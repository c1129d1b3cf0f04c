"""Where the batches of a pipeline are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from millrace.contract.limits import Limits
from millrace.declaration.captures import Dated, LandingFormat
from millrace.lake.batch import batch_prefix
from millrace.lake.store import ObjectStore

ReportRows = Callable[[int], None]
"""Is called with the number of rows read so far."""


@dataclass(frozen=True)
class BatchDestination:
    """The two zones of the lake that a pipeline writes to, and what the warehouse behind them can hold."""

    pipeline: str
    store: ObjectStore
    """The landing zone."""
    limits: Limits
    """The largest values that the warehouse can hold."""
    progress: ReportRows | None = None
    token: int = 0
    """Token of the lease that batches carry; 0: no lease was taken."""
    form: LandingFormat = "parquet"
    processed: ObjectStore | None = None
    """The processed zone; None: it is the landing zone."""
    dated: Dated | None = None
    """Tells from which date on the content of a read is valid, if that is declared."""
    cli_name: str = ""
    """How a command names the pipeline; '': by ``pipeline``."""
    mask_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The keys of hashed values, by name."""

    def effective_at(self, read_at: datetime, previous: datetime | None) -> datetime:
        """Return from when on the content of a read is valid that the ``previous`` read did not show."""
        return self.dated.effective_at(read_at, previous) if self.dated else read_at

    def prefix(self, stream: str, read_at: datetime, batch_id: str) -> str:
        """Return the first part of the keys of a batch's objects."""
        if self.dated:
            return f"{self.dated.prefix(stream, read_at)}/{batch_id}"
        return batch_prefix(self.pipeline, stream, read_at, batch_id)

    @property
    def working_store(self) -> ObjectStore:
        """The zone for files that no batch of the landing zone keeps."""
        return self.processed or self.store

    @property
    def command_name(self) -> str:
        """The pipeline as a command names it."""
        return self.cli_name or self.pipeline
