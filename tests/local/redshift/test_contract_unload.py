"""UNLOAD to Parquet as the sweep relies on it. Runs against a real cluster, too."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest


def unload(redshift: Any, query: str, options: str = "") -> str:
    location = f"s3://{redshift.bucket}/{redshift.schema}/out/"
    return f"UNLOAD ('{query}') TO '{location}' IAM_ROLE '{redshift.iam_role}' FORMAT AS PARQUET {options}"


@pytest.fixture
def rows(redshift: Any) -> Any:
    redshift.run(
        "CREATE TABLE t (id BIGINT, a VARCHAR(9), b NUMERIC(10, 2), c BOOLEAN)",
        "INSERT INTO t VALUES (1, 'it''s', 1.5, true), (2, '', NULL, false), (3, NULL, -1, NULL)",
    )
    return redshift


def test_what_was_unloaded_can_be_read(rows: Any) -> None:
    rows.run(unload(rows, "SELECT * FROM t WHERE id > 0 AND (a <> ''x'' OR a IS NULL)", "MANIFEST PARALLEL OFF"))
    manifest = json.loads(rows.s3.get_object(Bucket=rows.bucket, Key=f"{rows.schema}/out/manifest")["Body"].read())
    entries = [(entry["url"], entry["meta"]["content_length"]) for entry in manifest["entries"]]
    assert [url.rpartition("/")[2] for url, _ in entries] == ["000.parquet"]
    key = entries[0][0].removeprefix(f"s3://{rows.bucket}/")
    assert entries[0][1] == rows.s3.head_object(Bucket=rows.bucket, Key=key)["ContentLength"]
    found = sorted(rows.read_parquet(key).to_pylist(), key=lambda row: int(row["id"]))
    assert found == [
        {"id": 1, "a": "it's", "b": Decimal("1.50"), "c": True},
        {"id": 2, "a": "", "b": None, "c": False},
        {"id": 3, "a": None, "b": Decimal("-1.00"), "c": None},
    ]


def test_what_was_unloaded_can_be_loaded(rows: Any) -> None:
    rows.run(
        unload(rows, "SELECT id, a, b FROM t", "MANIFEST"),
        "CREATE TABLE again (id BIGINT, a VARCHAR(9), b NUMERIC(10, 2))",
    )
    location = f"s3://{rows.bucket}/{rows.schema}/out/manifest"
    rows.run(rows.copy_from("again", location, "MANIFEST"))
    assert rows.run("SELECT * FROM again ORDER BY id") == rows.run("SELECT id, a, b FROM t ORDER BY id")


def test_nothing_is_overwritten_unless_allowed(rows: Any) -> None:
    rows.run(unload(rows, "SELECT id FROM t"))
    rows.refusal(unload(rows, "SELECT id FROM t"))
    rows.run(unload(rows, "SELECT id FROM t", "ALLOWOVERWRITE"))


def test_only_queries_are_unloaded(rows: Any) -> None:
    rows.refusal(unload(rows, "DELETE FROM t"))
    rows.refusal(unload(rows, "SELECT string_agg(a, '','') FROM t"))
