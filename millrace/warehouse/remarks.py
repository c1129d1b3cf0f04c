"""Remarks on a load: what a person should know besides its counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from millrace.base.types import TIME_KINDS, Kind
from millrace.lake.batch import Batch
from millrace.warehouse.clear_values import describe_clear_values
from millrace.warehouse.schema.form import other_function
from millrace.warehouse.schema.needed import Needs
from millrace.warehouse.target import Target
from millrace.warehouse.work import Work

NOT_DECLARED = "it is not declared any more: its table stays as it is"


def add_remarks(
    needs: Needs, works: Sequence[Work], of_models: Mapping[str, Sequence[str]], members: Collection[str]
) -> list[Work]:
    """Return the works with their remarks.

    ``of_models`` are remarks by model; those of models without a batch go with the first work. ``members`` are the
    streams and models that were loaded before.
    """
    loaded = {work.name for work in works}
    others = tuple(f"{name}: {text}" for name, texts in of_models.items() if name not in loaded for text in texts)
    return [
        replace(
            work,
            remarks=(
                *work.applied.warnings,
                *of_models.get(work.name, ()),
                *find_doubtful_times(work.target, work.batch),
                *(others if work is works[0] else ()),
                *_find_missing_messages(work, members),
                *_find_other_function(needs, work),
                *describe_clear_values(needs.ledger, work),
            ),
        )
        for work in works
    ]


def record_left_out(needs: Needs, works: Sequence[Work], at: datetime) -> dict[str, tuple[str, ...]]:
    """Record which models are not declared any more although their streams have new rows. Return a remark for each."""
    if not any(work.applied.changed for work in works if not work.target.owner.is_model):
        return {}
    declared = {*needs.models, *(work.name for work in works)}
    return dict.fromkeys(needs.forms.record_left_out(declared, at), (NOT_DECLARED,))


def find_doubtful_times(target: Target, batch: Batch) -> tuple[str, ...]:
    """Find times without a zone that decide versions and bindings, and are taken for UTC without a declaration.

    They are doubtful if the source has another zone than UTC.
    """
    if target.time_zone or not batch.time_zones or not batch.written:
        return ()
    kinds = {column.name: column.type.kind for column in (*target.derivation.columns, *batch.columns)}
    naive = {name for name, kind in kinds.items() if kind in TIME_KINDS - {Kind.TIMESTAMP_UTC}}
    deciding = sorted(naive & {target.load.effective, *(bind.at for bind in target.relations.binds)})
    return tuple(
        f"{name} decides which version is valid, has no time zone and is taken for UTC, and the source gives sessions "
        f"{', '.join(batch.time_zones)}: declare stamps_in with the zone in which it is written"
        for name in deciding
    )


def _find_missing_messages(work: Work, members: Collection[str]) -> tuple[str, ...]:
    """Return a remark if a new model lacks messages that were loaded before: they are not read again."""
    derivation = work.target.derivation
    if derivation.begins_whole or work.name in members or not derivation.roots & {*members}:
        return ()
    command = f"`{work.target.owner.reload_command}`"
    return (
        f"it was never loaded, and messages are not read again: it holds those from now on ({command} adds the rest)",
    )


def _find_other_function(needs: Needs, work: Work) -> tuple[str, ...]:
    if work.batch.coverage.computed_from_all_rows:
        return ()
    return tuple(filter(None, [other_function(work.target, needs.forms.find(work.target))]))
