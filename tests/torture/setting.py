"""What a history is about: which source, which warehouse, and how its stream is declared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Literal

import dataframely as dy

from millrace import Incremental, Stream
from millrace.declaration.captures import DeletePolicy, Reconcile
from tests.torture.mongo import MongoCollection
from tests.torture.places import MONGO_DATABASE, Places, WarehouseKind
from tests.torture.postgres import PostgresTable
from tests.torture.source import KeyKind, SourceUnderTest
from tests.torture.values import LONGEST_REDSHIFT_TEXT_BYTES, Row

SourceKind = Literal["postgres", "mongo"]
Leases = Literal["warehouse", "lake", "both"]
"""Where leases are kept; ``both``: runs of either setting, also at once."""
HIGHEST_GRADE = 100
ZONES = ("", "Asia/Ho_Chi_Minh", "Asia/Kathmandu", "America/New_York")


class Contract(dy.Schema):
    """What half of the streams ask of a row."""

    grade = dy.Int64(nullable=True, min=0, max=HIGHEST_GRADE)


@dataclass(frozen=True)
class Setting:
    """What a history is about. ``is_exact``: the stream has no overlap that hides a position which is a little late;
    then the source is not written while it is read. ``zone``: in which stamps without zone are written, '' for UTC; one
    that is not declared is the one that the server gives to the pipeline's sessions. ``gathers``: batches of windows
    wait in the lake until they are loaded together."""

    source: SourceKind
    warehouse: WarehouseKind
    key: KeyKind = "number"
    deletes: DeletePolicy = "hard"
    has_contract: bool = False
    is_exact: bool = True
    is_naive: bool = False
    zone: str = ""
    is_zone_declared: bool = False
    is_pooled: bool = False
    reconciles: bool = False
    leases: Leases = "warehouse"
    gathers: bool = False


def setting_of(dice: Random, source: SourceKind | None = None, warehouse: WarehouseKind | None = None) -> Setting:
    """Any; the stand-in for Redshift is the slower one and comes less often."""
    leases: Leases = dice.choice(("warehouse", "lake", "both"))
    return Setting(
        source or dice.choice(("postgres", "postgres", "mongo")),
        warehouse or dice.choice(("postgres", "postgres", "redshift")),
        dice.choice(("number", "text", "pair")),
        dice.choice(("hard", "hard", "soft", "ignore")),
        has_contract=dice.random() < 0.5,
        is_exact=dice.random() < 0.6,
        is_naive=dice.random() < 0.3,
        reconciles=dice.random() < 0.2,
        zone=dice.choice(ZONES),
        is_zone_declared=dice.random() < 0.5,
        is_pooled=dice.random() < 0.3,
        leases=leases,
        gathers=leases == "lake" and dice.random() < 0.5,
    )


def source_of(places: Places, setting: Setting, name: str) -> SourceUnderTest:
    """A new table or collection."""
    if setting.source == "mongo":
        return MongoCollection(places.mongo_url, MONGO_DATABASE, name, setting.key)
    overlap = timedelta(0) if setting.is_exact else None
    return PostgresTable(
        places.postgres_url, name, setting.key, overlap=overlap, is_naive=setting.is_naive, zone=setting.zone
    )


def stream_of(setting: Setting, source: SourceUnderTest, name: str = "") -> Stream:
    """As a pipeline would declare it, by default by the name of its source."""
    return Stream(
        name or source.name,
        source.reference,
        source.keys,
        Incremental(source.stamp, overlap=source.overlap),
        contract=Contract if setting.has_contract else None,
        types=source.types,
        deletes=setting.deletes,
        reconcile=Reconcile(rows=10, policy="warn") if setting.reconciles else None,
        stamps_in=setting.zone if setting.is_zone_declared else "",
    )


def breaks_contract(setting: Setting, row: Row) -> bool:
    """Whether the stream has a contract, and the row does not keep it."""
    grade = row.get("grade")
    return setting.has_contract and isinstance(grade, int) and not 0 <= grade <= HIGHEST_GRADE


def is_too_long(setting: Setting, row: Row) -> bool:
    """Whether a text is longer than the warehouse's longest."""
    texts = [value for value in row.values() if isinstance(value, str)]
    return setting.warehouse == "redshift" and any(len(text.encode()) > LONGEST_REDSHIFT_TEXT_BYTES for text in texts)
