"""Load modes at work: what is declared (declaration/load_modes.py, scd2.py) is applied by a module here.

A module registers what applies a mode (``make_applier.register``), so that a further mode is a module and nothing else.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
