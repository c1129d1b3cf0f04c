"""Which streams a failed transform reports: those that the keys of its manifests name, without reading a manifest."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from millrace import Dated, Incremental, Pipeline, Stream
from millrace.flows.transform import find_streams_of
from millrace.lake.batch import MANIFEST_NAME, batch_prefix

STREAMS = [Stream(name, f"postgres:public.{name}", "id", Incremental("at")) for name in ("sales", "landing", "items")]


@pytest.mark.parametrize("dated", [None, Dated("shop"), Dated("landing/raw")], ids=str)
def test_the_streams_of_manifests_are_found_by_their_keys(dated: Dated | None) -> None:
    pipeline = Pipeline("shop", STREAMS, dated=dated)
    now = datetime.now(UTC)
    names = ("items", "sales")
    prefixes = [dated.prefix(name, now) if dated else batch_prefix("shop", name, now, "batch") for name in names]
    keys = [f"{prefix}/{MANIFEST_NAME}" for prefix in prefixes]
    assert find_streams_of(pipeline, keys) == ["sales", "items"]
