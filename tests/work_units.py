"""Which tests run in one process of pytest-xdist, one after the other: those of a file; and all that use a Prefect
server, since each process has one of its own.

A Prefect server takes 6 s of CPU to start, and 1 s in a minute where it does nothing (2026-12-01).
"""

from __future__ import annotations

from typing import Any

import pytest
from _pytest.nodeid import coerce_node_id
from typing_extensions import override
from xdist.scheduler import LoadGroupScheduling

PREFECT_UNIT = "prefect"
DISTRIBUTION = "loadgroup"


def uses_prefect_server(item: pytest.Item) -> bool:
    """Return whether a test, or a fixture of it, wants the Prefect server."""
    return "prefect_server" in getattr(item, "fixturenames", ())


# Last, since others sort by names. pytest-xdist 3.8 has marks for it, which do nothing with pytest 9.2: it writes names
# where pytest reads them no more (2026-12-01: three servers).
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the unit to the names of its tests, in the processes of pytest-xdist."""
    if not getattr(config.option, DISTRIBUTION, False):
        return
    for item in filter(uses_prefect_server, items):
        item._id = coerce_node_id(f"{item.nodeid}@{PREFECT_UNIT}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadGroupScheduling | None:
    """Return what hands out the units, with `--dist loadgroup`; pytest-xdist's own choice otherwise."""
    return WorkUnits(config, log) if config.getoption("dist") == DISTRIBUTION else None


class WorkUnits(LoadGroupScheduling):
    """Hands out marked groups of tests, and files with the others of their tests."""

    @override
    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return scope.partition("::")[0]
