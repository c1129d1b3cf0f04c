"""A digest of what a declaration makes of the rows of a source."""

from __future__ import annotations

import re
from dataclasses import fields
from hashlib import sha256
from typing import Any

import polars as pl

from millrace.declaration.stream import Stream

NO_MATTER_OF_ROWS = frozenset({
    "name", "target", "max_rejects", "max_reject_share", "max_new_columns", "sweep", "deletes", "schema_policy",
    "reconcile", "enabled", "sorted_by", "distributed_by", "max_delete_share",
})  # fmt: skip
"""Fields of a stream that leave its rows as they are."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Where a function of a contract lies in memory."""


def digest_row_shape(stream: Stream) -> str:
    """Return a digest of what decides which rows and values a read gives: masks, columns, types, contract and so on."""
    shaping = {one.name: getattr(stream, one.name) for one in fields(stream) if one.name not in NO_MATTER_OF_ROWS}
    text = "\n".join(f"{name}={_describe(value)}" for name, value in shaping.items())
    return sha256(text.encode()).hexdigest()[:32]


def _describe(value: Any) -> str:
    if isinstance(value, pl.Expr):
        # The text shortens long lists; a Python function in it has no form that two processes have in common.
        text = str(value)
        return text if "python_udf" in text else value.meta.serialize(format="json")
    if isinstance(value, dict):
        return repr({name: _describe(one) for name, one in value.items()})
    return _ADDRESS.sub("", repr(value))
