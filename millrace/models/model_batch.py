"""A model's batch before its rows are computed: what it is follows from the batches that it is computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from millrace.declaration.consent import NO_CONSENT, Consent
from millrace.declaration.model import Model
from millrace.declaration.pipeline import Pipeline
from millrace.lake.batch import Batch, BatchCoverage, BatchFiles


def plan_model_batch(pipeline: Pipeline, model: Model, batches: Mapping[str, Batch]) -> Batch | None:
    """Return the batch of a model without files; None when no batch of its roots is among ``batches`` (by stream).

    The same inputs always give the same id, so that the batch is applied once.
    """
    roots = pipeline.roots.of(model)
    sources = [batches[name] for name in sorted(roots) if name in batches]
    if not sources:
        return None
    read_at = max(batch.read_at for batch in sources)
    return Batch(
        pipeline=pipeline.name,
        stream=model.name,
        batch_id=f"{read_at:%Y%m%dT%H%M%S.%fZ}-{_digest(pipeline, model, batches)}",
        kind="model",
        read_at=read_at,
        begun_at=min(batch.begun_at for batch in sources),
        effective_at=max(batch.effective_at for batch in sources),
        columns=model.columns,
        files=BatchFiles(),
        coverage=BatchCoverage(
            has_all_columns=True,
            absent_means_deleted=all(name in batches and batches[name].shows_deletes for name in roots),
            computed_from_all_rows=all(name in batches and batches[name].holds_all_rows for name in roots),
            by_value=any(batch.coverage.by_value for batch in sources),
        ),
        time_zones=tuple(sorted({zone for batch in sources for zone in batch.time_zones})),
        note=_describe_rejects(sources),
        consent=Consent(**{name: any(vars(batch.consent)[name] for batch in sources) for name in vars(NO_CONSENT)}),
    )


def _describe_rejects(sources: Sequence[Batch]) -> str:
    """Return why no row of a model of snapshots is taken for deleted; '' when rows are.

    A row was rejected that has no former row, so the model lacks what it makes of that row, as a join does.
    """
    lacking = [batch.stream for batch in sources if not batch.shows_deletes]
    if not lacking or any(batch.kind != "snapshot" for batch in sources):
        return ""
    return f"new rows of {' and '.join(lacking)} were rejected, so nothing is taken for deleted"


def _digest(pipeline: Pipeline, model: Model, batches: Mapping[str, Batch]) -> str:
    """Return a digest of the model's name and of the ids of the batches that it is computed from."""
    ids = sorted(_batch_ids(pipeline, model, batches))
    return hashlib.sha256("\n".join([model.name, *ids]).encode()).hexdigest()[:16]


def _batch_ids(pipeline: Pipeline, model: Model, batches: Mapping[str, Batch]) -> list[str]:
    """Return the ids of the batches of all inputs; an id is repeated if several inputs lead to its batch."""
    input_models = [input_model for input_model in pipeline.models if input_model.name in model.inputs]
    input_ids = [batches[name].batch_id for name in model.inputs if name in batches]
    return [
        *input_ids,
        *(batch for input_model in input_models for batch in _batch_ids(pipeline, input_model, batches)),
    ]
