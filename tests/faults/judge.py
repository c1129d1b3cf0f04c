"""What must hold after every fault and a restart: nothing lost, nothing doubled, a ledger and a lake that add up."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

from millrace import Stream
from millrace.base.naming import quote
from millrace.lake.batch import MANIFEST_NAME
from millrace.lake.lease import LEASES
from millrace.lake.manifest import read_manifest
from millrace.sources.position import DEFAULT_OVERLAP
from tests.faults.places import Places
from tests.faults.subjects import Subject
from tests.support.engine import PIPELINE, Engine

COUNTS = "rows_read, rows_inserted, rows_updated, rows_deleted, rows_unchanged, rows_rejected"


class Judge:
    """Looks at source, lake and warehouse from outside, as often as it is asked."""

    def __init__(self, places: Places, subject: Subject, pipeline: str = PIPELINE) -> None:
        self._places, self._subject, self._pipeline = places, subject, pipeline
        self._engine: Engine = places.quick_engine()
        self._objects = places.objects()
        self._lake: dict[str, tuple[str, datetime]] = {}

    def check(self, stream: Stream | None = None) -> None:
        """Assert all of it, for the subject's stream or for the same under another name."""
        checked = stream or self._subject.stream
        self.check_lake()
        self.check_rows(checked)
        self.check_ledger(checked)

    def check_rows(self, stream: Stream) -> None:
        """The target is the source: every row, every value, once."""
        key = self._subject.columns[0]
        columns, target = ", ".join(map(quote, self._subject.columns)), quote(self._pipeline, stream.table)
        held = self._engine.query(f"SELECT {columns} FROM {target} ORDER BY {quote(key)}")
        assert len({row[0] for row in held}) == len(held), "a key is held twice"
        assert held == self._subject.held(), "target and source differ"

    def check_ledger(self, stream: Stream) -> None:
        """One row per applied batch, whose manifest is in the lake; counts add up; positions go back by less than
        the overlap."""
        applied = self._engine.query(
            f"SELECT batch_id, manifest, position, {COUNTS} FROM millrace.batches "
            f"WHERE pipeline = '{self._pipeline}' AND stream = '{stream.name}' ORDER BY read_at"
        )
        assert len({row[0] for row in applied}) == len(applied), "a batch is in the ledger twice"
        for _, manifest, _, read, *counts in applied:
            assert manifest in self._lake
            assert read == sum(counts), "counts do not add up"
        inserted, deleted = sum(row[4] for row in applied), sum(row[6] for row in applied)
        assert inserted - deleted == len(self._subject.held()), "inserted less deleted is not what is there"
        positions = [datetime.fromisoformat(row[2]) for row in applied if row[2] is not None]
        # A transaction begins a moment before the server lists it, so a later read may see an earlier one: that is what
        # the overlap covers.
        assert all(earlier - later < DEFAULT_OVERLAP for earlier, later in pairwise(positions)), positions

    def check_lake(self) -> None:
        """Nothing but leases and states was rewritten or removed since the last look, and no manifest lacks one of its
        objects."""
        found = {
            item["Key"]: (item["ETag"], item["LastModified"])
            for page in self._objects.paginate(Bucket=self._places.bucket)
            for item in page.get("Contents", [])
            if not item["Key"].startswith(f"{LEASES}/")
        }
        assert self._lake.items() <= found.items(), "an object of the lake was rewritten or removed"
        new, self._lake = found.keys() - self._lake.keys(), found
        for key in new:
            if key.endswith(f"/{MANIFEST_NAME}"):
                self._check_complete(key)

    def _check_complete(self, manifest_key: str) -> None:
        batch = read_manifest(self._engine.store, manifest_key)
        named = {*(part.key for part in batch.files.rows), *batch.files.rejects}
        assert named <= self._lake.keys(), "a manifest names objects that are not there"
