"""What a person allows one run to do that no run does by itself.

What does not belong here: the checks that ask for it (extract.py, warehouse/).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Consent:
    """Nothing is allowed unless it is said.

    ``accept_rejects``: the batch is committed however many of its rows were rejected.
    """

    accept_rejects: bool = False


NO_CONSENT = Consent()
