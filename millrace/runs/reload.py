"""Reload: compute a model again from its beginning, from the batches that were applied, in their order.

Every version comes back that these batches made. A new read of the source, as one group of batches, knows only what
is true now (docs/decisions/0019-models-that-cannot-be-declared-wrongly.md).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.lake.batch import Batch, ChildColumns
from millrace.lake.manifest import read_manifest
from millrace.lake.store import ObjectStore
from millrace.models.transform import transform
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.warehouse import Warehouse


@dataclass(frozen=True)
class BatchGroup:
    """Batches that a model is computed from at once."""

    manifests: tuple[str, ...]
    """Keys of the manifests in the landing zone."""
    rows: int
    """How many rows the batches read."""
    streams: tuple[str, ...] = ()
    """The stream of each batch, as the ledger names it: it may have had another name. (): as its manifest says."""


@dataclass(frozen=True)
class ReloadResult:
    """What a reload did: rows that were inserted into the new table, updated, deleted and rejected on the way."""

    model: str
    groups: int
    """Number of groups of batches that were applied."""
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    rejected: int = 0

    def plus(self, result: LoadResult) -> ReloadResult:
        """Return the sum with what another batch did."""
        names = ("inserted", "updated", "deleted", "rejected")
        return replace(self, **{name: getattr(self, name) + getattr(result, name) for name in names})


ReportGroups = Callable[[int, int], None]
"""Is called with the number of groups that were applied, and the number of all groups."""


def find_applied_groups(warehouse: Warehouse, pipeline: Pipeline, model: Model) -> list[BatchGroup]:
    """Return the applied batches of a model's roots in groups.

    Each group is a batch of the root that changes, with the latest snapshots of that time. A batch that changed nothing
    is left out. Raises ConfigurationError when nothing was applied.
    """
    roots = pipeline.roots
    changing = {stream.name for stream in roots.changing(model)}
    applied = warehouse.list_applied(pipeline, sorted(roots.of(model)))
    if not applied:
        raise ConfigurationError(
            "nothing that it is computed from was ever loaded",
            place=f"model {pipeline.name}.{model.name}",
            remedy=f"run `millrace run {pipeline.cli_name}`, which fills it",
        )
    snapshots = {batch.stream: batch for batch in reversed(applied) if batch.stream not in changing}
    groups = []
    for _, commit in groupby(applied, key=lambda batch: batch.applied_at):
        together = list(commit)
        snapshots |= {batch.stream: batch for batch in together if batch.stream not in changing}
        of_group = [batch for batch in together if batch.stream in changing] if changing else together
        if any(batch.has_changes for batch in of_group):
            batches = [*(batch for batch in of_group if batch.stream in changing), *snapshots.values()]
            manifests, rows = tuple(batch.manifest for batch in batches), sum(batch.rows for batch in batches)
            groups.append(BatchGroup(manifests, rows, tuple(batch.stream for batch in batches)))
    return groups


def reload_model(
    pipeline: Pipeline,
    model: Model,
    groups: Sequence[BatchGroup],
    landing: ObjectStore,
    processed: ObjectStore,
    warehouse: Warehouse,
    report: ReportGroups = lambda *_: None,
) -> ReloadResult:
    """Compute a model from groups of batches into a new table, which takes the place of the model's table at the end.

    Raises ConfigurationError when a batch is not in the landing zone any more, and what a transform and a load raise;
    the table is as it was then.
    """
    done = ReloadResult(model.name, len(groups))
    rebuild = warehouse.prepare_rebuild(pipeline, model, processed, secrets.token_hex(4))
    rebuild.begin()
    known = _find_child_columns(pipeline, model, warehouse)
    for number, group in enumerate(groups, start=1):
        batches = _with_child_columns(_read_batches(landing, group, pipeline, model), known)
        closes = [closed for batch in batches for closed in batch.progress.closes]
        for made in transform(pipeline, batches, landing, processed, warehouse.dialect.limits, only=model):
            done = done.plus(rebuild.apply(made, closes))
        report(number, len(groups))
    # Before the commit, so that no run takes the model for one that was never filled if this dies after it.
    warehouse.forget_states(pipeline, sorted(pipeline.roots.of(model)))
    rebuild.finish()
    return done


def _find_child_columns(pipeline: Pipeline, model: Model, warehouse: Warehouse) -> dict[str, ChildColumns]:
    """Return the columns that the children of a model's streams have now, by stream."""
    streams = [stream for stream in pipeline.streams if stream.name in pipeline.roots.of(model)]
    return {
        stream.name: warehouse.find_state(pipeline, stream).child_columns for stream in streams if stream.found_children
    }


def _with_child_columns(batches: Iterable[Batch], known: Mapping[str, ChildColumns]) -> list[Batch]:
    """Return batches that tell the columns of children: one from before a child was declared takes those of now."""
    return [replace(batch, child_columns={**known.get(batch.stream, {}), **batch.child_columns}) for batch in batches]


def _read_batches(landing: ObjectStore, group: BatchGroup, pipeline: Pipeline, model: Model) -> Iterator[Batch]:
    for number, manifest in enumerate(group.manifests):
        try:
            batch = read_manifest(landing, manifest)
            yield replace(batch, stream=group.streams[number]) if group.streams else batch
        except SourceMissing:
            raise ConfigurationError(
                f"{landing.uri(manifest)} is not in the landing zone any more",
                place=f"model {pipeline.name}.{model.name}",
                remedy=f"run `millrace reload {pipeline.cli_name} {model.name} --from source`: versions from before "
                "this read are lost then; the table is as it was",
            ) from None
