"""Appliers of load modes: each module here applies what declaration/load_modes.py or scd2.py declares.

A module registers the applier of a mode (``make_applier.register``), so that a further mode is one module.

What does not belong here: staging and the ledger.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
