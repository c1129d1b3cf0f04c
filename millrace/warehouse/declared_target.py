"""The target that a stream or a model declares."""

from __future__ import annotations

from millrace.base.naming import column_name
from millrace.declaration.captures import follows_deletes
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.table import Table, TemporaryTables
from millrace.warehouse.target import Derivation, Owner, Policies, Relations, Target


def target_of(pipeline: Pipeline, member: Stream | Model, dialect: Dialect, number: int = 0) -> Target:
    """Return the target of a stream or model.

    ``number`` tells apart the targets that are loaded together. An unknown delete policy raises AssertionError, with
    every load mode.
    """
    follows_deletes(member.deletes)
    if isinstance(member, Model):
        return _target_of_model(pipeline, member, dialect, number)
    return _target_of_stream(pipeline, member, dialect, number)


def _target_of_stream(pipeline: Pipeline, stream: Stream, dialect: Dialect, number: int) -> Target:
    place = f"stream {pipeline.name}.{stream.name} ({stream.source})"
    return Target(
        Owner(pipeline.name, stream.name, place, pipeline.cli_name),
        Table(pipeline.target_schema, stream.table, dialect),
        tuple(column_name(key) for key in stream.keys),
        stream.load,
        Policies(stream.load.deletes(stream.deletes), stream.schema_policy, stream.reconcile, stream.max_delete_share),
        cursor_column=column_name(stream.capture.stamp) if stream.capture.stamp else "",
        time_zone=stream.stamps_in,
        sorted_by=stream.sorted_by,
        distributed_by=stream.distributed_by,
        find_mask=stream.find_mask,
        apply_order=2,
        temporary=TemporaryTables(number),
    )


def _target_of_model(pipeline: Pipeline, model: Model, dialect: Dialect, number: int) -> Target:
    """Return the target of a model. Dimensions are applied before facts, and both before the streams."""
    versions_sorted_by = model.keys[0] if model.load.keeps_versions else ""
    return Target(
        Owner(pipeline.name, model.name, f"model {pipeline.name}.{model.name}", pipeline.cli_name, is_model=True),
        Table(pipeline.target_model_schema, model.name, dialect),
        model.keys,
        model.load,
        Policies(
            deletes=model.load.deletes(model.deletes),
            schema_policy=model.schema_policy,
            max_delete_share=model.max_delete_share,
        ),
        Relations(model.references, model.unknown, tuple(model.binds)),
        _derivation_of(pipeline, model),
        time_zone=pipeline.time_zone_of(model),
        sorted_by=model.binds[0].at if model.binds else versions_sorted_by,
        apply_order=1 if model.references or model.binds else 0,
        temporary=TemporaryTables(number),
    )


def _derivation_of(pipeline: Pipeline, model: Model) -> Derivation:
    changing = pipeline.roots.changing(model)
    return Derivation(
        columns=tuple(column for column in model.columns if column.name != model.load.effective),
        required=model.required - {model.load.effective},
        roots=frozenset(stream.name for stream in changing),
        root_columns=tuple(pipeline.roots.key_columns(model)),
        begins_whole=all(stream.capture.keeps_rows for stream in changing),
        function_hash=model.function_hash,
    )
