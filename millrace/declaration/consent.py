"""Consent: what a person allows one run to do that no run does by itself."""

from __future__ import annotations

from dataclasses import dataclass

from millrace.declaration.checks import check_fields


@dataclass(frozen=True)
class Consent:
    """What a person allows one run; by default nothing."""

    accept_rejects: bool = False
    """Commit the batch however many of its rows were rejected."""
    allow_deletes: bool = False
    """Commit the batch however many rows of the target it deletes."""
    accept_source: bool = False
    """Read a stream from its new source after the declared source changed, and compare that with the target."""

    def __post_init__(self) -> None:
        check_fields(self, "consent")

    @property
    def note(self) -> str:
        """The sentence of the report that says what the run was allowed to do; '' for nothing."""
        allowed = [name for name, is_allowed in vars(self).items() if is_allowed]
        return f"run with {', '.join(allowed)}" if allowed else ""


NO_CONSENT = Consent()
