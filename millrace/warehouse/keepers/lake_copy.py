"""What the lake keeps of the streams of one warehouse: leases, and copies of what the ledger said."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from millrace.declaration.pipeline import Pipeline
from millrace.lake.lease import LakeLeases, prefix_of
from millrace.lake.store import ChangingObjects
from millrace.warehouse.keepers.landed_batches import LandedBatches
from millrace.warehouse.keepers.stored_entries import StoredEntries, store_pauses, store_recorded_streams
from millrace.warehouse.keepers.stored_state import StoredStates
from millrace.warehouse.ledger.pauses import Pause
from millrace.warehouse.ledger.recorded_streams import RecordedStream


@dataclass(frozen=True)
class LakeCopy:
    """The objects of one warehouse in the lake."""

    leases: LakeLeases
    states: StoredStates
    pauses: StoredEntries[Pause]
    found_streams: StoredEntries[RecordedStream]
    landed: LandedBatches

    @classmethod
    def of(cls, objects: ChangingObjects, address: str) -> LakeCopy:
        """Return the objects of the warehouse at an address (host, port and database)."""
        prefix = prefix_of(address)
        return cls(
            LakeLeases(objects, prefix),
            StoredStates(objects, prefix),
            store_pauses(objects, prefix),
            store_recorded_streams(objects, prefix),
            LandedBatches(objects, prefix),
        )

    def forget_states(self, pipeline: Pipeline, streams: Collection[str]) -> None:
        """Forget how far streams have come and which batches wait: the next run of each asks the warehouse."""
        for stream in streams:
            self.states.forget(pipeline.name, stream)
            self.landed.forget(pipeline.name, stream)
