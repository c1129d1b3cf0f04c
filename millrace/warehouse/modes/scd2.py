"""The applier of `Scd2`: rows of a log and rows that are states become versions in different ways."""

from __future__ import annotations

from millrace.declaration.scd2 import Scd2
from millrace.warehouse.modes.applier import Applier, make_applier
from millrace.warehouse.modes.logs import LogApplier
from millrace.warehouse.modes.states import StateApplier
from millrace.warehouse.target import Target


@make_applier.register(Scd2)
def make_scd2_applier(load: Scd2, target: Target) -> Applier:
    """Return the applier of a table of versions."""
    return LogApplier(load, target) if load.changes else StateApplier(load, target)
