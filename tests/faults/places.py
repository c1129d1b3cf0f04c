"""Where the servers of one test are, as a value that another process understands, and the engine between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from local.aws import AwsServer
from local.stack import Stack
from millrace.lake.store import ObjectStore
from millrace.warehouse.keepers.keeper import KeptIn
from tests.support.engine import Engine, bucket_store, engine_between, quick_engine_between

Wrapped = Callable[[ObjectStore], ObjectStore]


@dataclass(frozen=True)
class Places:
    """Addresses of a source of each kind, of a lake and of a warehouse, and where leases are kept.

    Replace an address by a proxy's to disturb it.
    """

    postgres_url: str
    mongo_url: str
    warehouse_url: str
    aws_url: str
    bucket: str
    kept_in: KeptIn = "warehouse"

    def engine(self, wrapped: Wrapped = lambda store: store) -> Engine:
        """An engine between these places; ``wrapped`` may put something around its lake."""
        engine = engine_between(self._stack(), wrapped(self.store()), self.postgres_url, self.warehouse_url)
        return engine.with_leases_in(self.kept_in)

    def quick_engine(self) -> Engine:
        """The same on kept connections, for what is done before and after the fault."""
        engine = quick_engine_between(self._stack(), self.store(), self.postgres_url, self.warehouse_url)
        return engine.with_leases_in(self.kept_in)

    def store(self) -> ObjectStore:
        """The lake."""
        return bucket_store(self._stack(), self.bucket)

    def objects(self) -> Any:
        """The lake's bucket as boto3 knows it, for looking at it from outside the engine."""
        return _AwsAt(self.aws_url).client("s3").get_paginator("list_objects_v2")

    def _stack(self) -> Any:
        """What the engine's builders ask of a running stack: addresses."""
        return SimpleNamespace(aws=_AwsAt(self.aws_url), mongo=SimpleNamespace(url=self.mongo_url))


class _AwsAt(AwsServer):
    """An emulator that runs elsewhere."""

    def __init__(self, url: str) -> None:
        object.__setattr__(self, "port", urlsplit(url).port)


def places_of(stack: Stack, postgres_url: str, warehouse_url: str, bucket: str) -> Places:
    """The places of a running stack."""
    return Places(postgres_url, stack.mongo.url, warehouse_url, stack.aws.url, bucket)


def through(url: str, port: int) -> str:
    """The same URL with another port: that of a proxy."""
    before, _, after = url.rpartition(f":{urlsplit(url).port}")
    return f"{before}:{port}{after}"
