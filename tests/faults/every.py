"""Which steps of a run a fault is tried at: every third, from one that the seed of the order chooses; all of them with
``THOROUGH=1 make test``.

What does not belong here: what is done at a step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from random import Random

from tests.random_order import VARIABLE

STRIDE = 1 if os.environ.get("THOROUGH") else 3


def steps() -> Iterator[int]:
    """Numbers of steps from 1, without end."""
    return count(1 + Random(os.environ[VARIABLE]).randrange(STRIDE), STRIDE)  # noqa: S311 - no secret
