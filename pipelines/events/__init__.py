"""`events`: what people do in the product, from a queue through the lake, every five minutes.

What does not belong here: the contract of an event (contracts.py), and the chart (chart_tasks.py).
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from millrace import Append, Pipeline, Queue, Stream, text
from millrace.pipelines.events.contracts import PLATFORMS, Event

DEVICE = pl.col("context_device_type").str.to_lowercase()
WIDTHS = {
    "id": 36, "anonymous_id": 36, "context_app_version": 8, "context_device_manufacturer": 32,
    "context_device_model": 32, "context_device_type": 16, "context_library_name": 16, "context_library_version": 8,
    "context_locale": 5, "context_os_name": 32, "context_network_carrier": 16, "context_timezone": 32,
    "context_traits_taxfix_language": 5, "event": 32, "event_text": 64,
}  # fmt: skip
"""Initial lengths of texts; a longer value widens its column."""

pipeline = Pipeline(
    name="events",
    schedule="*/5 * * * *",
    fresh_within=timedelta(minutes=30),
    streams=[
        Stream(
            "events",
            source="sqs/events",
            key="id",
            capture=Queue(stamp="received_at", dead_letters="events-dead-letter"),
            load=Append(),
            contract=Event,
            types={name: text(length) for name, length in WIDTHS.items()},
            rewritten={
                "context_device_type": DEVICE,
                "context_os_name": pl.col("context_os_name").str.to_lowercase().replace(PLATFORMS),
            },
            omitted=["context_device_token"],
            # After an outage a run reads a day of messages, of which one in two hundred may be malformed.
            max_rejects=100_000,
            max_reject_share=0.1,
            sorted_by="timestamp",
        )
    ],
)
