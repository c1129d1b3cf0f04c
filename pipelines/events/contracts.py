"""The contract of product events, and how their fields are spelled in the warehouse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import dataframely as dy
import polars as pl

UPPER_CASE_UUID = r"^[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}$"
Platform = Literal["ios", "android"]
PLATFORMS: Mapping[Platform, str] = {"ios": "iOS", "android": "Android"}
"""Name of the operating system by type of device."""
SECOND, MILLISECOND = pl.duration(seconds=1), pl.duration(milliseconds=1)
"""``sent_at`` is cut to whole seconds, ``original_timestamp`` to milliseconds: their errors are smaller than this."""


def camel_case(name: pl.Expr) -> pl.Expr:
    """Return a name in camel case: ``submission_success`` becomes ``submissionSuccess``."""
    capitalized = name.str.split("_").list.eval(pl.element().str.head(1).str.to_uppercase() + pl.element().str.slice(1))
    joined = capitalized.list.join("")
    return joined.str.head(1).str.to_lowercase() + joined.str.slice(1)


class Event(dy.Schema):
    """Something that a person did in the product, on one device; the columns of the table, in their order."""

    id = dy.String(nullable=False, regex=UPPER_CASE_UUID)
    received_at = dy.Datetime(nullable=False, time_unit="us")
    anonymous_id = dy.String(nullable=False, regex=UPPER_CASE_UUID)
    context_app_version = dy.String(nullable=True)
    context_device_ad_tracking_enabled = dy.Bool(nullable=True)
    context_device_manufacturer = dy.String(nullable=True)
    context_device_model = dy.String(nullable=True)
    context_device_type = dy.String(nullable=False)
    context_library_name = dy.String(nullable=True)
    context_library_version = dy.String(nullable=True)
    context_locale = dy.String(nullable=True)
    context_network_wifi = dy.Bool(nullable=True)
    context_os_name = dy.String(nullable=True)
    context_network_carrier = dy.String(nullable=True)
    context_timezone = dy.String(nullable=True)
    context_traits_taxfix_language = dy.String(nullable=True)
    event = dy.String(nullable=False)
    event_text = dy.String(nullable=False)
    original_timestamp = dy.Datetime(nullable=False, time_unit="us", time_zone="UTC")
    timestamp = dy.Datetime(nullable=False, time_unit="us")
    sent_at = dy.Datetime(nullable=False, time_unit="us")
    user_id = dy.Int64(nullable=True)

    @dy.rule()
    def platform_is_known(cls) -> pl.Expr:
        """One of two, after it was spelled one way."""
        return pl.col("context_device_type").is_in(list(PLATFORMS))

    @dy.rule()
    def text_agrees(cls) -> pl.Expr:
        """Check that both fields that name the event agree."""
        return pl.col("event_text") == camel_case(pl.col("event"))

    @dy.rule()
    def clocks_agree(cls) -> pl.Expr:
        """Check that ``timestamp`` is the device's time, corrected by the error of its clock when it sent the event."""
        original = pl.col("original_timestamp").dt.replace_time_zone(None)
        told = original + (pl.col("received_at") - pl.col("sent_at"))
        return (pl.col("timestamp") < told + MILLISECOND) & (told < pl.col("timestamp") + SECOND)

    @dy.rule()
    def times_are_in_order(cls) -> pl.Expr:
        """Original, then timestamp, then sent (cut to whole seconds), then received."""
        original = pl.col("original_timestamp").dt.replace_time_zone(None)
        sent_before = pl.col("sent_at") + SECOND
        return (
            (original <= pl.col("timestamp"))
            & (pl.col("timestamp") < sent_before)
            & (pl.col("sent_at") < pl.col("received_at"))
        )
