"""Make a model's table again beside the old one, and put it in the place of the old one in one transaction.

Batches are applied to the new table as to any other; nobody sees it before the last step (exchange_tables.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from millrace.base.errors import Superseded
from millrace.lake.batch import Batch
from millrace.warehouse.exchange_tables import SUFFIX, drop_tables, exchange_tables
from millrace.warehouse.ledger.entries import AppliedBatch
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.load import load, relate
from millrace.warehouse.schema.catalog import Catalog
from millrace.warehouse.schema.needed import needs_of
from millrace.warehouse.schema.recorded_forms import RecordedForms
from millrace.warehouse.session import retry_on_conflict
from millrace.warehouse.stage import Stage
from millrace.warehouse.target import Target
from millrace.warehouse.work import Work

Sessions = Callable[[], AbstractContextManager[tuple[Any, Stage]]]
"""Opens a session, with the stage that files are loaded into."""
_LEDGER = {"batches": "stream", "columns": "stream", "rejects": "stream", "forms": "member"}
"""Tables of the ledger with entries of models, and the column of each that names the model."""


class Rebuild:
    """Makes the table of a model again. Each step has its own session, as a load has.

    ``models`` are the targets of all models of the pipeline by name, ``roots`` are the streams from which the model is
    computed, and ``attempt`` tells its batches from those that were applied before.
    """

    def __init__(
        self, warehouse: Sessions, target: Target, models: Mapping[str, Target], roots: Sequence[str], attempt: str
    ) -> None:
        self._warehouse, self._target, self._roots, self._attempt = warehouse, target, roots, attempt
        self._applied: list[AppliedBatch] = []
        self._new = replace(
            target,
            owner=replace(target.owner, name=f"{target.owner.name}{SUFFIX}"),
            table=replace(target.table, name=f"{target.table.name}{SUFFIX}"),
        )
        # Of the others only the dimensions that its rows refer to: nothing of the rest is changed before the end.
        self._models = {name: models[name] for name in target.relations.dimensions} | {self._new.owner.name: self._new}
        self._facts = [fact for fact in models.values() if target.owner.name in fact.relations.dimensions]
        self._all_models = models

    def begin(self) -> None:
        """Remove what an attempt that did not finish has left."""
        with self._warehouse() as (connection, _):
            ledger = Ledger(connection)
            retry_on_conflict(connection, ledger.ensure)
            retry_on_conflict(connection, lambda: self._clear(connection, ledger))
            self._applied = ledger.list_applied(self._target.owner.pipeline, self._roots)

    def apply(self, batch: Batch, closes: Iterable[str] = ()) -> LoadResult:
        """Apply a batch of the model to the new table. ``closes`` are the batches whose rejects it read again."""
        renamed = replace(
            batch,
            stream=self._new.owner.name,
            batch_id=self._id_of_attempt(batch.batch_id),
            progress=replace(batch.progress, closes=tuple(map(self._id_of_attempt, closes))),
        )
        with self._warehouse() as (connection, stage):
            return load(connection, stage, [Work(self._new, renamed)], self._models)[0]

    def _id_of_attempt(self, batch_id: str) -> str:
        return f"{batch_id}-{self._attempt}"

    def finish(self) -> None:
        """Put the new table in the place of the old one. A model that gave no row has no table then.

        Then bind the facts of a dimension again, in steps; if this does not finish, the next run does it. Raises
        Superseded when rows of the model's streams were loaded since ``begin``: the new table lacks them.
        """
        with self._warehouse() as (connection, _):
            ledger = Ledger(connection)
            retry_on_conflict(connection, lambda: self._exchange(connection, ledger))
            if self._facts:
                relate(needs_of(connection, ledger, self._facts, self._all_models), self._facts)

    def _clear(self, connection: Any, ledger: Ledger) -> None:
        ledger.lock()
        with connection.cursor() as cursor:
            drop_tables(cursor, self._new)
            for name, column in _LEDGER.items():
                cursor.execute(
                    f"DELETE FROM millrace.{name} WHERE pipeline = %s AND {column} = %s",
                    (self._new.owner.pipeline, self._new.owner.name),
                )
        connection.commit()

    def _exchange(self, connection: Any, ledger: Ledger) -> None:
        ledger.lock()
        self._refuse_late(ledger)
        catalog = Catalog(connection, [self._target, self._new])
        with connection.cursor() as cursor:
            exchange_tables(cursor, catalog, self._target, self._new)
            self._take_over(cursor)
        forms = RecordedForms(connection, ledger, self._target.owner.pipeline)
        for fact in self._facts:
            if (form := forms.find(fact)) is not None:
                forms.record(fact, form.without(self._target.owner.name), datetime.now(UTC))
        connection.commit()

    def _refuse_late(self, ledger: Ledger) -> None:
        """Raise Superseded when rows were loaded since ``begin``.

        The leases of the streams prevent that, unless this process was frozen for longer than they last.
        """
        again = f"`{self._target.owner.reload_command}`"
        if ledger.list_applied(self._target.owner.pipeline, self._roots) != self._applied:
            raise Superseded(
                f"another run loaded {' or '.join(self._roots)} meanwhile, and the new table lacks its rows",
                place=self._target.place,
                remedy=f"the table is as it was: run {again} again",
            )

    def _take_over(self, cursor: Any) -> None:
        """Rename the ledger's entries of the new table to the model. Earlier rejects count as read again."""
        pipeline, old, new = self._target.owner.pipeline, self._target.owner.name, self._new.owner.name
        cursor.execute(
            "UPDATE millrace.rejects SET closed_by = (SELECT max(batch_id) FROM millrace.batches "
            "WHERE pipeline = %s AND stream = %s) WHERE pipeline = %s AND stream = %s AND closed_by IS NULL",
            (pipeline, new, pipeline, old),
        )
        for name in ("columns", "forms"):
            cursor.execute(f"DELETE FROM millrace.{name} WHERE pipeline = %s AND {_LEDGER[name]} = %s", (pipeline, old))
        cursor.execute(
            "UPDATE millrace.batches SET target = %s WHERE pipeline = %s AND stream = %s",
            (self._target.name, pipeline, new),
        )
        for name, column in _LEDGER.items():
            cursor.execute(
                f"UPDATE millrace.{name} SET {column} = %s WHERE pipeline = %s AND {column} = %s", (old, pipeline, new)
            )
