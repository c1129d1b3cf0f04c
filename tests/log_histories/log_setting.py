"""What a history of a change log is about: which warehouse, and how its streams are declared."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from millrace import ChangeLog, Merge, Scd2, Stream
from millrace.declaration.captures import DeletePolicy
from millrace.seed_data.transfers import TABLES
from tests.torture.places import WarehouseKind
from tests.torture.setting import Leases

Loads = Literal["merge", "versions"]


@dataclass(frozen=True)
class LogSetting:
    """What a history is about.

    ``is_concurrent``: writers of their own threads work all the while. Otherwise their statements are steps, and every
    state that the source ever had is known.
    """

    warehouse: WarehouseKind
    deletes: tuple[DeletePolicy, DeletePolicy] = ("hard", "hard")
    loads: tuple[Loads, Loads] = ("merge", "merge")
    leases: Leases = "warehouse"
    is_concurrent: bool = False

    def stream(self, side: int, schema: str) -> Stream:
        """One of the two streams, as a pipeline would declare it."""
        table = TABLES[side]
        return Stream(
            f"{table}_{schema}",
            f"postgres:{schema}.{table}",
            "id",
            ChangeLog(),
            load=Scd2("version_id") if self.loads[side] == "versions" else Merge(),
            deletes=self.deletes[side],
            max_delete_share=1.0,
        )


def log_setting_of(dice: Random, warehouse: WarehouseKind | None = None) -> LogSetting:
    """Any; the stand-in for Redshift is the slower one and comes less often."""
    policies: tuple[DeletePolicy, ...] = ("hard", "hard", "soft", "ignore")
    kinds: tuple[Loads, ...] = ("merge", "merge", "versions")
    loads = (dice.choice(kinds), dice.choice(kinds))
    deletes = tuple(dice.choice(policies) if load == "merge" else "hard" for load in loads)
    return LogSetting(
        warehouse or dice.choice(("postgres", "postgres", "postgres", "redshift")),
        deletes,
        loads,
        dice.choice(("warehouse", "lake", "both")),
        is_concurrent=dice.random() < 0.2,
    )
