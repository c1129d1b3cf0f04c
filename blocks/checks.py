"""The checks of an environment: for every server, bucket, queue and topic that its variables describe.

They need no Prefect server, so that they tell what is wrong also when Prefect is; its own checks are in
prefect_checks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from prefect_aws import AwsCredentials
from prefect_aws.s3 import S3Bucket
from prefect_sqlalchemy import SqlAlchemyConnector
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from millrace.base.errors import ConfigurationError, MillraceError
from millrace.blocks import names
from millrace.blocks.environment import (
    credentials_of,
    make_secret_block,
    queue_of,
    sources_of,
    topic_of,
    warehouse_prefixes,
)
from millrace.blocks.mongo import MongoDB
from millrace.blocks.sql import driver_of, opener_naming
from millrace.blocks.store import BucketStore
from millrace.checks.certificate import Protocol
from millrace.checks.check import Check, failed_check
from millrace.checks.documents import DocumentServer
from millrace.checks.lake import Bucket
from millrace.checks.messages import QueueAddress, Topic
from millrace.checks.server import Server
from millrace.checks.tables import MYSQL_TABLES, POSTGRES_TABLES, TableKind, TableServer
from millrace.checks.warehouse import LoadedWarehouse
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.source_kinds import MYSQL, POSTGRES, SourceKind
from millrace.declaration.stream import Stream
from millrace.drivers.mongo_client import CORRECT_THE_BLOCK, uses_tls
from millrace.drivers.psycopg_errors import database_errors
from millrace.drivers.pymysql_errors import mysql_errors
from millrace.warehouse.dialect import dialect_for

CLIENT_CONFIG: dict[str, Any] = {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 1}}
"""A check that waits for minutes, as boto3 does by default, is taken for one that hangs."""
PORTS = {"postgres": 5432, "mysql": 3306, "redshift": 5439}
Errors = Callable[[str], AbstractContextManager[None]]
TABLE_KINDS: Mapping[SourceKind, tuple[TableKind, Errors, Protocol]] = {
    POSTGRES: (POSTGRES_TABLES, database_errors, "postgres"),
    MYSQL: (MYSQL_TABLES, mysql_errors, "mysql"),
}


@dataclass(frozen=True)
class EnvironmentChecks:
    """The checks for the places that variables describe, and for what pipelines need there."""

    environment: Mapping[str, str]
    pipelines: Sequence[Pipeline]

    def places(self) -> list[list[Check]]:
        """Return the checks of each place: variables, sources, warehouses, lake, queues, topic."""
        found = [[Check("environment", "variables", "Looks for the pipelines' variables.", self._find_variables)]]
        found += [self._source(*source) for source in sources_of(self.environment)]
        for prefix, connection in warehouse_prefixes(self.environment).items():
            if self.environment.get(f"{prefix}_URL"):
                found.append(self._warehouse(prefix, connection))
        found += [self._bucket(name).checks() for name in self._zones()]
        if self.environment.get("ALERT_TOPIC_ARN"):
            found.append(self._topic())
        return found

    def _find_variables(self) -> str:
        wanted = {name for pipeline in self.pipelines for name in names.variables_of(pipeline)}
        buckets = {names.variable_name(name) for name in (names.LANDING, names.PROCESSED)}
        missing = sorted(name for name in wanted | buckets if not self.environment.get(name))
        if missing:
            missing_names = ", ".join(missing)
            raise ConfigurationError(f"{missing_names} is not set", remedy=f"set {missing_names} (docs/settings.md)")
        if not self.pipelines:
            raise ConfigurationError("no pipeline has all of its variables", remedy="set them (docs/settings.md)")
        return f"all that {', '.join(pipeline.name for pipeline in self.pipelines)} need are set"

    def _source(self, kind: SourceKind, place: str, variable: str) -> list[Check]:
        try:
            if kind.is_queue:
                return self._queue(place, variable)
            block = make_secret_block(variable, self.environment[variable])
            streams = [
                stream
                for pipeline in self.pipelines
                for stream in pipeline.streams
                if names.source_name(stream.reference.kind.name, stream.reference.connection) == place
            ]
            if isinstance(block, MongoDB):
                return _documents(place, variable, block, streams)
            return _tables(place, variable, kind, block, streams)
        except MillraceError as error:
            return [failed_check(place, "URL", f"Reads {variable}.", error)]

    def _warehouse(self, prefix: str, connection: str) -> list[Check]:
        place, variable = names.warehouse_name(connection), f"{prefix}_URL"
        try:
            connector: Any = make_secret_block(variable, self.environment[variable])
            driver, landing = driver_of(connector), self._bucket(names.LANDING)
            schemas = [
                schema
                for pipeline in self.pipelines
                if pipeline.warehouse == connection
                for schema in (pipeline.target_schema, pipeline.target_model_schema)
            ]
            server = _server(place, variable, connector, "redshift" if "redshift" in driver else "postgres", "postgres")
            return LoadedWarehouse(
                server,
                opener_naming(connector, database_errors, place),
                dialect_for(driver),
                self.environment.get(f"{prefix}_IAM_ROLE", ""),
                schemas,
                landing.store,
                landing.region,
            ).checks()
        except MillraceError as error:
            return [failed_check(place, "URL", f"Reads {variable}.", error)]

    def _zones(self) -> Iterator[str]:
        return (name for name in (names.LANDING, names.PROCESSED) if self.environment.get(names.variable_name(name)))

    def _bucket(self, name: str) -> Bucket:
        bucket_name = self.environment.get(names.variable_name(name), "")
        store = BucketStore(S3Bucket(bucket_name=bucket_name, credentials=self._credentials))
        return Bucket(name, store, store.region, self._credentials.region_name or "", store)

    def _queue(self, place: str, variable: str) -> list[Check]:
        block = queue_of(self.environment[variable], self._credentials, place=variable)
        is_source = not place.endswith(names.dead_letter())
        return QueueAddress(place, block.url, block.client(), is_source).checks()

    def _topic(self) -> list[Check]:
        try:
            topic = topic_of(self.environment["ALERT_TOPIC_ARN"], self._credentials)
            return Topic(names.ALERTS, topic.topic_arn, topic.client()).checks()
        except MillraceError as error:
            return [failed_check(names.ALERTS, "ARN", "Reads ALERT_TOPIC_ARN.", error)]

    @cached_property
    def _credentials(self) -> AwsCredentials:
        credentials = credentials_of(self.environment)
        parameters = credentials.aws_client_parameters.model_copy(update={"config": CLIENT_CONFIG})
        return credentials.model_copy(update={"aws_client_parameters": parameters})


def runnable(pipelines: Sequence[Pipeline], environment: Mapping[str, str]) -> list[Pipeline]:
    """Return the pipelines for which every variable is set."""
    return [pipeline for pipeline in pipelines if all(environment.get(name) for name in names.variables_of(pipeline))]


def _tables(place: str, variable: str, kind: SourceKind, block: Any, streams: Sequence[Stream]) -> list[Check]:
    table_kind, errors, protocol = TABLE_KINDS[kind]
    server = _server(place, variable, block, kind.name, protocol)
    return TableServer(server, table_kind, opener_naming(block, errors, place), streams).checks()


def _server(place: str, variable: str, connector: SqlAlchemyConnector, kind: str, protocol: Protocol) -> Server:
    url = connector.connection_info.create_url()
    return Server(place, variable, ((url.host, url.port or PORTS[kind]),), url.username or "", protocol)


def _documents(place: str, variable: str, block: MongoDB, streams: Sequence[Stream]) -> list[Check]:
    try:
        parsed = parse_uri(block.url.get_secret_value(), warn=False)
    except PyMongoError as error:
        # The words of the driver may quote the URL.
        raise ConfigurationError(
            f"the URL is not understood ({type(error).__name__})", place=variable, remedy=CORRECT_THE_BLOCK
        ) from None
    protocol: Protocol | None = "tls" if uses_tls(block.url.get_secret_value(), parsed["options"]) else None
    server = Server(place, variable, tuple(parsed["nodelist"]), parsed["username"] or "", protocol)
    return DocumentServer(server, block.get_client, streams).checks()
