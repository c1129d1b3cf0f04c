"""Times without zone that decide versions and bindings, where nobody declared the zone and the source has another one
than UTC: they are taken for UTC, and the report says so.
"""

from __future__ import annotations

from millrace.base.types import TIME_KINDS, Kind
from millrace.lake.batch import Batch
from millrace.warehouse.target import Target


def doubtful_times(target: Target, batch: Batch) -> tuple[str, ...]:
    """What a person should know; nothing where times are sure."""
    if target.stamps_in or not batch.time_zones or not batch.written:
        return ()
    kinds = {column.name: column.type.kind for column in (*target.columns, *batch.columns)}
    naive = {name for name, kind in kinds.items() if kind in TIME_KINDS - {Kind.TIMESTAMP_UTC}}
    deciding = sorted(naive & {target.load.effective, *(bind.at for bind in target.binds)})
    return tuple(
        f"{name} decides which version is valid, has no time zone and is taken for UTC, and the source gives sessions "
        f"{', '.join(batch.time_zones)}: declare stamps_in with the zone in which it is written"
        for name in deciding
    )
