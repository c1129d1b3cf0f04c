"""For whom a change log is read: by this a kind of database names what it keeps for the reader."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class LogReader:
    """One pipeline, one warehouse and one connection: each reads a log at its own pace."""

    pipeline: str
    """The name of the pipeline."""
    ledger: str
    """What tells the ledger of its warehouse from others: see ``StreamState.ledger``."""
    connection: str
    """The name of the connection; '' for the one without a name."""
    place: str
    """The source as a whole, as errors name it."""

    @property
    def digest(self) -> str:
        """Return eight characters that tell warehouse and connection from others of the pipeline."""
        return hashlib.sha256(f"{self.ledger}/{self.connection}".encode()).hexdigest()[:8]
