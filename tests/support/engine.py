"""The engine between real servers, without Prefect: read, check, write to the lake, load."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any, Self

import orjson
import psycopg2
from prefect_aws import AwsClientParameters, AwsCredentials
from prefect_aws.s3 import S3Bucket
from prefect_sqlalchemy import SqlAlchemyConnector
from sqlalchemy.engine import make_url

from local.mysql import connect as connect_mysql
from local.stack import WAREHOUSE_IAM_ROLE, Stack
from millrace import Pipeline, Stream
from millrace.base.naming import quote
from millrace.blocks.databases import DATABASES
from millrace.blocks.leases import choose_keeper, make_address
from millrace.blocks.mysql import mysql_connector
from millrace.blocks.sql import driver_of, opener, warehouse_connector
from millrace.blocks.store import BucketStore
from millrace.change_logs.log_reader import LogReader
from millrace.declaration.consent import Consent
from millrace.drivers.mongo_client import open_client
from millrace.drivers.pipe import CHUNK_BYTES
from millrace.lake.batch import Batch
from millrace.lake.lease import LakeLeases, prefix_of
from millrace.lake.store import ObjectStore
from millrace.models.transform import transform
from millrace.queues.source import CollectedSource
from millrace.runs.changes import read_changes
from millrace.runs.choose import ReadRequest, read
from millrace.runs.context import StreamContext
from millrace.runs.destination import BatchDestination
from millrace.runs.gathered import is_waiting
from millrace.runs.reads import read_window
from millrace.runs.replay import replay_rejects
from millrace.runs.sweep import sweep
from millrace.sources.chunk import Source, Window
from millrace.sources.mongo import MongoSource
from millrace.sources.mysql import MySQLSource
from millrace.sources.postgres import PostgresSource
from millrace.sources.tables import TableSource
from millrace.warehouse.dialect import dialect_for
from millrace.warehouse.keepers.keeper import KeptIn
from millrace.warehouse.ledger.load_result import LoadResult
from millrace.warehouse.warehouse import Warehouse
from tests.support.connections import KeptConnection, KeptConnections, connect_kept

PIPELINE = "engine"
"""Name of the pipeline that every delivered stream is in, and of the schema of its targets."""

WAREHOUSE_URL = make_url("redshift+psycopg2://test:5439/test")
"""Under which the lake keeps leases: each test has a lake of its own, with one warehouse."""
WAREHOUSE_ADDRESS = make_address(WAREHOUSE_URL)
PUBLICATION = "millrace_engine"
"""Name of the publication that tests of change logs create in their source."""

NOW = ReadRequest()
"""What a run that is asked nothing reads."""
ANY_REJECTS = Consent(accept_rejects=True)
"""Of tests of what is rejected and why; ``run`` is as strict as a run is."""

Way = Callable[[StreamContext], Awaitable[Batch | None]]
"""A way to a batch: a window, a sweep, a replay."""


@dataclass
class Engine:
    """One source of each kind, a lake and a warehouse. ``chunk_bytes`` bounds what is decoded at once; ``holder`` is
    who takes the leases."""

    store: ObjectStore
    warehouse: Warehouse
    connect_warehouse: Callable[[], Any]
    postgres_url: str
    mongo_url: str
    mysql_url: str = ""
    chunk_bytes: int = CHUNK_BYTES
    holder: str = "test"
    batches: list[Batch] = field(default_factory=list)
    keeps_connections: bool = False
    """To the Postgres source, for the next who connects to it."""
    load_every: timedelta | None = None
    """As of the pipeline: how long batches wait in the lake."""
    mask_keys: dict[str, str] = field(default_factory=dict)
    """Keys of hashes, by name."""

    async def deliver(self, stream: Stream, *, full: bool = False, upper: str | None = None) -> LoadResult | None:
        """Take the stream from its position (``full``: from the beginning) to the warehouse; None when empty."""
        return await self._through(stream, self._window(full, upper))

    async def run(self, stream: Stream, read_request: ReadRequest = NOW) -> LoadResult | None:
        """What a run does, by default one that is asked nothing: a window, a sweep that is due, or a snapshot."""
        return await self._through(stream, lambda context: read(context, read_request))

    async def follow(self, *streams: Stream, read_request: ReadRequest = NOW) -> dict[str, LoadResult]:
        """Bring streams of one connection to the present by its change log, in one commit; the results by stream."""
        pipeline = Pipeline(PIPELINE, streams=streams)
        batches = await self.read_log(pipeline, streams, read_request)
        return {result.stream: result for result in self.warehouse.load(pipeline, batches, self.store)}

    async def read_log(
        self, pipeline: Pipeline, streams: Sequence[Stream], read_request: ReadRequest = NOW
    ) -> list[Batch]:
        """Read streams of one connection by its change log into the lake."""
        with ExitStack() as stack:
            contexts = []
            for stream in streams:
                token = stack.enter_context(self.warehouse.lease(pipeline, stream, self.holder))
                source = stack.enter_context(self._source(stream))
                contexts.append(StreamContext(source, self.landing(token), self.warehouse, pipeline, stream))
            kind, source = streams[0].reference.kind, contexts[0].source
            make_log = DATABASES[kind].make_log
            assert make_log is not None
            found = await read_changes(
                lambda ledger: make_log(source, LogReader(PIPELINE, ledger, "", f"source {kind.name}")),
                contexts,
                read_request,
            )
        self.retained = found.retained
        return [batch for batch in found.batches if batch]

    async def sweep(self, stream: Stream, *, deep: bool = False) -> LoadResult | None:
        """Compare the whole stream with its target and load what differs; None when both are empty."""
        return await self._through(stream, lambda context: sweep(context, deep=deep))

    async def replay(self, stream: Stream) -> LoadResult | None:
        """Read the open rejects again; None when there are none."""
        return await self._through(stream, replay_rejects)

    async def extract(self, stream: Stream, *, full: bool = False, upper: str | None = None) -> Batch | None:
        """Read a window into the lake; the batch is also kept in ``batches``."""
        return await self._leased(stream, self._window(full, upper))

    async def extract_sweep(self, stream: Stream) -> Batch | None:
        """Sweep into the lake; the batch is also kept in ``batches``."""
        return await self._leased(stream, sweep)

    def with_leases_in(self, kept_in: KeptIn) -> Self:
        """The same engine, whose leases and states are kept in the warehouse or in the lake."""
        old = self.warehouse
        make_keeper = choose_keeper(kept_in, WAREHOUSE_URL, self.store)  # type: ignore[arg-type]  # a BucketStore
        warehouse = Warehouse(self.connect_warehouse, old.dialect, old._iam_role, make_keeper)
        return replace(self, warehouse=warehouse, batches=[])

    def expire_leases(self) -> None:
        """As if the time of every lease were over, in the warehouse and in the lake."""
        self.query("UPDATE millrace.leases SET expires_at = '2020-01-01' WHERE holder <> 'the lake'")
        leases = LakeLeases(self.store, prefix_of(WAREHOUSE_ADDRESS))  # type: ignore[arg-type]  # a BucketStore
        for key in self.store.list_keys(leases.prefix):
            _, _, pipeline, *stream_names = key.split("/")
            if stream_names[-1] != "lease.json":
                continue
            stream = stream_names[0]
            leases.extend(pipeline, stream, leases.find(pipeline, stream).token, seconds=0)

    def landing(self, token: int = 0) -> BatchDestination:
        """Where batches go, under the lease of this token."""
        return BatchDestination(
            PIPELINE, self.store, self.warehouse.dialect.limits, token=token, mask_keys=self.mask_keys
        )

    def pipeline(self, stream: Stream) -> Pipeline:
        """The stream alone in a pipeline."""
        return replace(pipeline_of(stream), load_every=self.load_every)

    def load(self, stream: Stream, batch: Batch) -> LoadResult:
        """Apply a batch."""
        (result,) = self.warehouse.load(self.pipeline(stream), [batch], self.store)
        return result

    def rejects(self, batch: Batch | None = None) -> list[dict[str, str]]:
        """Rejected rows of a batch, by default of the latest, in the form of REJECT_SCHEMA."""
        keys = (batch or self.batches[-1]).files.rejects
        return [orjson.loads(line) for key in keys for line in self.store.get_bytes(key).splitlines()]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query in the warehouse."""
        return fetch(self.connect_warehouse, sql)

    def rows(self, table: str, *columns: str, order: str = "1") -> list[tuple[Any, ...]]:
        """Rows of a target, all columns in order unless some are named."""
        chosen = ", ".join(quote(column) for column in columns) or "*"
        return self.query(f"SELECT {chosen} FROM {quote(PIPELINE, table)} ORDER BY {order}")

    def source(self, sql: str) -> list[tuple[Any, ...]]:
        """Run statements in the Postgres source; rows of the last one, if it gives any."""
        return fetch(self.connect_source, sql)

    def connect_source(self) -> Any:
        """A connection to the Postgres source."""
        return connect_kept(self.postgres_url) if self.keeps_connections else psycopg2.connect(self.postgres_url)

    def mysql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in the MySQL source; rows of the last one, if it gives any."""
        with closing(connect_mysql(self.mysql_url)) as connection, connection.cursor() as cursor:
            for one in statements:
                cursor.execute(one)
            return list(cursor.fetchall())

    def table_source(self, stream: Stream) -> TableSource:
        """The Postgres source, or the MySQL source, as the stream wants it."""
        if stream.reference.kind.name == "mysql":
            return MySQLSource(opener(mysql_connector(self.mysql_url, place="test")), self.chunk_bytes)
        return PostgresSource(self.connect_source, self.chunk_bytes)

    @contextmanager
    def _source(self, stream: Stream) -> Iterator[Source]:
        if stream.reference.kind.name == "mongo":
            client = open_client(self.mongo_url)
            try:
                yield MongoSource(client)
            finally:
                client.close()
        elif stream.reference.kind.name == "sqs":
            yield CollectedSource(self.store, pipeline_of(stream), self.warehouse.find_collected)
        else:
            yield self.table_source(stream)

    def _window(self, full: bool, upper: str | None) -> Way:
        async def read(context: StreamContext) -> Batch | None:
            lower = None if full else (await context.find_state()).position
            return await read_window(context, Window(lower, upper))

        return read

    async def _through(self, stream: Stream, way: Way) -> LoadResult | None:
        """Under a lease, as a run does it."""
        pipeline, result = self.pipeline(stream), None
        with self.warehouse.lease(pipeline, stream, self.holder) as token:
            batch = await self._batch(stream, way, token)
            if batch is not None and is_waiting(pipeline, batch):
                self.warehouse.land(pipeline, batch)
            elif batch is not None:
                result = self.load(stream, batch)
        self.warehouse.release(pipeline, {stream.name: token})
        return result

    async def _leased(self, stream: Stream, way: Way) -> Batch | None:
        pipeline = self.pipeline(stream)
        with self.warehouse.lease(pipeline, stream, self.holder) as token:
            return await self._batch(stream, way, token)

    async def _batch(self, stream: Stream, way: Way, token: int) -> Batch | None:
        landing = self.landing(token)
        with self._source(stream) as source:
            context = StreamContext(source, landing, self.warehouse, self.pipeline(stream), stream, consent=ANY_REJECTS)
            batch = await way(context)
        self.batches += [batch] if batch else []
        return batch


@dataclass
class Together:
    """A pipeline whose tables are committed together: every stream is read, all is transformed into the processed zone,
    all is loaded at once."""

    engine: Engine
    processed: ObjectStore

    async def run(self, pipeline: Pipeline, *streams: str, read_request: ReadRequest = NOW) -> dict[str, LoadResult]:
        """What one run did, by stream and model; of all streams unless some are named."""
        batches = await self.read(pipeline, *streams, read_request=read_request)
        return self.load(pipeline, self.transform(pipeline, batches))

    async def read(self, pipeline: Pipeline, *streams: str, read_request: ReadRequest = NOW) -> list[Batch]:
        """Batches in the landing zone, none of a stream that had nothing to read."""
        found = [
            await self._read(pipeline, one, read_request)
            for one in pipeline.streams
            if one.name in streams or not streams
        ]
        return [batch for batch in found if batch]

    def transform(self, pipeline: Pipeline, batches: Sequence[Batch]) -> list[Batch]:
        """Batches in the processed zone, those of models too."""
        limits = self.engine.warehouse.dialect.limits
        return transform(pipeline, batches, self.engine.store, self.processed, limits)

    def load(self, pipeline: Pipeline, batches: Sequence[Batch]) -> dict[str, LoadResult]:
        """What the one commit did, by stream and model."""
        return {result.stream: result for result in self.engine.warehouse.load(pipeline, batches, self.processed)}

    async def _read(self, pipeline: Pipeline, stream: Stream, read_request: ReadRequest) -> Batch | None:
        engine = self.engine
        with engine.warehouse.lease(pipeline, stream, engine.holder) as token, engine._source(stream) as source:
            limits = engine.warehouse.dialect.limits
            form, dated = pipeline.landing, pipeline.dated
            landing = BatchDestination(pipeline.name, engine.store, limits, None, token, form, self.processed, dated)
            return await read(StreamContext(source, landing, engine.warehouse, pipeline, stream), read_request)


def pipeline_of(stream: Stream) -> Pipeline:
    """The stream alone in a pipeline."""
    return Pipeline(PIPELINE, streams=[stream])


def counts(result: LoadResult | None) -> dict[str, int]:
    """What a load read and did to rows, by name; only what is not 0."""
    assert result is not None
    names = ("read", "inserted", "updated", "deleted", "unchanged", "rejected")
    return {name: count for name in names if (count := getattr(result, name))}


def database_of(url: str) -> str:
    """Name of the database of a URL."""
    return url.rpartition("/")[2]


def fetch(connect: Callable[[], Any], sql: str) -> list[tuple[Any, ...]]:
    """Run SQL on a connection of its own and commit; the rows, if it gives any."""
    with closing(connect()) as connection:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            rows = cursor.fetchall() if cursor.description else []
        connection.commit()
        return list(rows)


def bucket_store(stack: Stack, bucket: str) -> BucketStore:
    """The lake in a bucket of the emulator; no Prefect server is asked."""
    environment = stack.aws.environment()
    credentials = AwsCredentials(
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_client_parameters=AwsClientParameters(endpoint_url=stack.aws.url),
    )
    return BucketStore(S3Bucket(bucket_name=bucket, credentials=credentials))


def engine_between(stack: Stack, store: ObjectStore, postgres_url: str, warehouse_url: str) -> Engine:
    """An engine whose warehouse is of the URL's kind; every connection is a new one, as in the product."""
    connector = warehouse_connector(warehouse_url, place="test")
    return _engine(stack, store, postgres_url, connector, opener(connector))


def quick_engine_between(stack: Stack, store: ObjectStore, postgres_url: str, warehouse_url: str) -> Engine:
    """The same on kept connections: for tests of what is moved, and not of connections."""
    connector, connect = _kept_warehouse(warehouse_url)
    engine = _engine(stack, store, postgres_url, connector, connect)
    engine.keeps_connections = True
    return engine


@cache
def _kept_warehouse(url: str) -> tuple[SqlAlchemyConnector, KeptConnections]:
    """Of a URL, since warehouses are lent to one test after the other."""
    connector = warehouse_connector(url, place="test")
    connector.connect_args = {**(connector.connect_args or {}), "connection_factory": KeptConnection}
    return connector, KeptConnections(opener(connector), is_redshift=_is_redshift(connector))


def _is_redshift(connector: SqlAlchemyConnector) -> bool:
    return dialect_for(driver_of(connector)).copies_from_lake


def _engine(
    stack: Stack, store: ObjectStore, postgres_url: str, connector: SqlAlchemyConnector, connect: Callable[[], Any]
) -> Engine:
    dialect = dialect_for(driver_of(connector))
    iam_role = WAREHOUSE_IAM_ROLE if dialect.copies_from_lake else ""
    return Engine(store, Warehouse(connect, dialect, iam_role), connect, postgres_url, stack.mongo.url)
