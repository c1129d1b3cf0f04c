"""Imported by the fork server alone, once: all that a run imports at first use, and the S3 client that runs share.

It connects nowhere, so that no connection is inherited.
"""

from __future__ import annotations

import logging
import os

import polars as pl  # noqa: F401 (imported so that no run has to)
import pyarrow.parquet as pq  # noqa: F401 (the same)

from tests.faults import killing, processes  # noqa: F401 (the same)
from tests.faults.places import Places

logging.disable(logging.INFO)
_places = Places(
    "postgresql://u:p@h/d", "", "redshift+psycopg2://u:p@h/d", os.environ[processes.AWS_VARIABLE], "bucket"
)
_places.engine()
_places.store()._client  # type: ignore[attr-defined]  # noqa: B018 (it is made when it is asked for)
