"""What a person allows one run to do that no run does by itself."""

from __future__ import annotations

from dataclasses import dataclass

from millrace.declaration.checks import check_fields


@dataclass(frozen=True)
class Consent:
    """Nothing is allowed unless it is said.

    ``accept_rejects``: the batch is committed however many of its rows were rejected.
    ``allow_deletes``: the batch is committed however many rows of the target it deletes.
    ``accept_source``: a stream whose declared source changed goes on with the new one, compared with the target.
    """

    accept_rejects: bool = False
    allow_deletes: bool = False
    accept_source: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "what a person allows")

    @property
    def note(self) -> str:
        """For the report: what the run was allowed to do; '' where that is nothing."""
        allowed = [name for name, is_allowed in vars(self).items() if is_allowed]
        return f"run with {', '.join(allowed)}" if allowed else ""


NO_CONSENT = Consent()
