"""The whole stack: every server the product talks to, started together, described, and taken down together."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from local.aws import ACCOUNT_ID, AwsServer, launch_aws, wait_for_aws
from local.demos import stocks_source, totesys_source
from local.directory import stack_directory
from local.mongo import MongoServer, launch_mongo, wait_for_mongo
from local.mysql import MySQLServer, launch_mysql, wait_for_mysql
from local.postgres import SUPERUSER, PostgresServer, start_postgres
from local.prefect_server import TRACKING_OFF, PrefectServer, launch_prefect_server, wait_for_prefect_server
from local.processes import Process
from local.warehouse import WarehouseServer, launch_warehouse, wait_for_warehouse
from millrace.base.errors import ConfigurationError
from millrace.seed_data.own.changes import CHINOOK

if TYPE_CHECKING:
    from local.ecs import Ecs

BANK_DATABASE = "bank"
TRANSFERS_DATABASE = "transfers"
WAREHOUSE_DATABASE = "warehouse"
STOCKS_WAREHOUSE_DATABASE = "stocks"
PREFECT_DATABASE = "prefect"
LANDING_BUCKET = "millrace-landing"
PROCESSED_BUCKET = "millrace-processed"
EVENTS_QUEUE = "millrace-events"
EVENTS_DEAD_LETTER_QUEUE = "millrace-events-dead-letter"
WAREHOUSE_IAM_ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/millrace-warehouse"


@dataclass(frozen=True)
class StackService:
    """One line of the overview: what runs where.

    ``where`` contains no password; ``process`` is None if the stack did not start it.
    """

    name: str
    what: str
    where: str
    process: Process | None


class Stack:
    """Context manager: all servers run inside it, none after it.

    ``directory`` keeps the data for the next start (a temporary one is removed); ``prefect=False`` leaves out
    the Prefect server, which takes most of the time; ``mysql=True`` adds MySQL, with the source of the pipeline
    `stocks`, a Postgres warehouse for it, and an empty database for `make demo-own`; ``ecs=True`` adds what runs
    deployments as on AWS, beside the Prefect server that it needs. Enter it in the main thread.
    """

    postgres: PostgresServer
    mongo: MongoServer
    aws: AwsServer
    landing_bucket: str
    processed_bucket: str
    queue_url: str
    dead_letter_queue_url: str
    warehouse: WarehouseServer
    mysql: MySQLServer | None
    prefect: PrefectServer | None
    ecs: Ecs | None

    def __init__(
        self, *, prefect: bool = True, mysql: bool = False, ecs: bool = False, directory: Path | None = None
    ) -> None:
        self.with_prefect, self.with_mysql, self.with_ecs, self.kept = prefect, mysql, ecs, directory
        self._running = ExitStack()

    def __enter__(self) -> Stack:
        with ExitStack() as starting:
            self._start(starting, starting.enter_context(stack_directory(self.kept)))
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.close()

    def _start(self, starting: ExitStack, directory: Path) -> None:
        # Launched first and awaited last: the servers start side by side.
        self.directory = directory
        self._launch(starting, directory)
        wait_for_mongo(self.mongo)
        wait_for_aws(self.aws)
        wait_for_warehouse(self.warehouse)
        if self.mysql:
            stocks_source.install(wait_for_mysql(self.mysql))
            self.mysql.create_database(CHINOOK)
            self.mysql.create_database(TRANSFERS_DATABASE)
            self.mysql.execute(f"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO '{TRANSFERS_DATABASE}'@'%'")
        if self.prefect:
            wait_for_prefect_server(self.prefect)
        self.ecs = None
        if self.with_ecs:
            self._start_ecs(starting, directory / "ecs")
        else:
            self._make_places()

    def _make_places(self) -> None:
        """Buckets and queues, as far as the product needs them."""
        self.landing_bucket = self.aws.create_bucket(LANDING_BUCKET)
        self.processed_bucket = self.aws.create_bucket(PROCESSED_BUCKET)
        self.dead_letter_queue_url = self.aws.create_queue(EVENTS_DEAD_LETTER_QUEUE)
        self.queue_url = self.aws.create_queue(EVENTS_QUEUE, dead_letter=EVENTS_DEAD_LETTER_QUEUE)

    def _start_ecs(self, starting: ExitStack, directory: Path) -> None:
        """Everything as on AWS, buckets and queues too."""
        from local import ecs  # noqa: PLC0415 - Prefect takes seconds to import

        if not self.prefect:
            raise ConfigurationError("a worker needs a Prefect server", place="local stack", remedy="start it with one")
        outputs = ecs.make_environment(self.aws, self.prefect)
        self.landing_bucket, self.processed_bucket = outputs["LandingBucket"], outputs["ProcessedBucket"]
        self.queue_url, self.dead_letter_queue_url = outputs["EventsQueueUrl"], outputs["EventsDeadLetterQueueUrl"]
        self.ecs = ecs.launch_ecs(
            directory, aws=self.aws, prefect=self.prefect, outputs=outputs, environment=self.environment()
        )
        starting.callback(self.ecs.stop)
        ecs.wait_for_ecs(self.ecs)

    def _launch(self, starting: ExitStack, directory: Path) -> None:
        self.mysql = launch_mysql(directory / "mysql") if self.with_mysql else None
        if self.mysql:
            starting.callback(self.mysql.stop)
        self.mongo = launch_mongo(directory / "mongo")
        starting.callback(self.mongo.stop if self.kept else self.mongo.process.kill)
        self.aws = launch_aws(directory / "aws", kept=self.kept is not None)
        starting.callback(self.aws.stop)
        self.postgres = start_postgres(directory / "postgres")
        starting.callback(self.postgres.stop)
        self.postgres.create_database(BANK_DATABASE)
        totesys_source.install(self.postgres)
        if self.with_mysql:
            self.postgres.create_database(STOCKS_WAREHOUSE_DATABASE)
            self.postgres.create_database(TRANSFERS_DATABASE)
            # It may read the change log: the demo of change logs uses it, and nothing else.
            self.postgres.execute(f"ALTER ROLE {TRANSFERS_DATABASE} REPLICATION")
        self.prefect = None
        if self.with_prefect:
            database_url = self.postgres.create_database(PREFECT_DATABASE)
            self.prefect = launch_prefect_server(directory / "prefect", database_url=database_url)
            starting.callback(self.prefect.stop)
        self.postgres.create_database(WAREHOUSE_DATABASE, owner=SUPERUSER)
        self.warehouse = launch_warehouse(
            directory / "redshift", postgres=self.postgres, database=WAREHOUSE_DATABASE, aws=self.aws
        )
        starting.callback(self.warehouse.stop)

    def environment(self) -> dict[str, str]:
        """Return the variables with which the product finds this stack; they contain passwords."""
        variables = {
            "SOURCE_POSTGRES_URL": self.postgres.url(BANK_DATABASE, user=BANK_DATABASE),
            "SOURCE_POSTGRES_TOTESYS_URL": self.postgres.url(totesys_source.DATABASE, user=totesys_source.READER),
            "SOURCE_POSTGRES_TOTESYS_WRITER_URL": self.postgres.url(
                totesys_source.DATABASE, user=totesys_source.WRITER
            ),
            "SOURCE_MONGO_URL": self.mongo.url,
            "SOURCE_SQS_EVENTS_URL": self.queue_url,
            "SOURCE_SQS_EVENTS_DEAD_LETTER_URL": self.dead_letter_queue_url,
            "WAREHOUSE_URL": self.warehouse.url,
            "WAREHOUSE_IAM_ROLE": WAREHOUSE_IAM_ROLE,
            "LANDING_BUCKET": self.landing_bucket,
            "PROCESSED_BUCKET": self.processed_bucket,
            # On one's own machine a deployment may run one's own file.
            "MILLRACE_ALLOW_PIPELINE_PATHS": "true",
            **self.aws.environment(),
            **TRACKING_OFF,
        }
        if self.mysql:
            variables |= self._mysql_environment(self.mysql)
        if self.prefect:
            variables |= {"PREFECT_API_URL": self.prefect.api_url, "PREFECT_HOME": str(self.prefect.home)}
        return variables

    def _mysql_environment(self, mysql: MySQLServer) -> dict[str, str]:
        return {
            "SOURCE_MYSQL_STOCKS_URL": mysql.url(stocks_source.DATABASE, user=stocks_source.READER),
            "SOURCE_MYSQL_STOCKS_WRITER_URL": mysql.url(stocks_source.DATABASE, user=stocks_source.WRITER),
            "SOURCE_MYSQL_CHINOOK_URL": mysql.url(CHINOOK, user=CHINOOK),
            "SOURCE_MYSQL_TRANSFERS_URL": mysql.url(TRANSFERS_DATABASE, user=TRANSFERS_DATABASE),
            "SOURCE_POSTGRES_TRANSFERS_URL": self.postgres.url(TRANSFERS_DATABASE, user=TRANSFERS_DATABASE),
            "WAREHOUSE_STOCKS_URL": self.postgres.url(STOCKS_WAREHOUSE_DATABASE, user=STOCKS_WAREHOUSE_DATABASE),
        }

    def services(self) -> list[StackService]:
        """Return what runs where, without passwords."""
        rows = [
            StackService("Postgres", "source", self.postgres.address(BANK_DATABASE), self.postgres.process),
            StackService("MongoDB", "source", self.mongo.url, self.mongo.process),
            StackService("AWS", "lake, queues, tasks", self.aws.url, self.aws.process),
            StackService("Redshift", "warehouse", self.warehouse.address, self.warehouse.process),
        ]
        if self.mysql:
            rows.insert(
                1, StackService("MySQL", "source", self.mysql.address(stocks_source.DATABASE), self.mysql.process)
            )
        if self.prefect:
            rows.append(StackService("Prefect", "server and UI", self.prefect.ui_url, self.prefect.process))
        if self.prefect and self.ecs:
            rows.append(StackService("ECS agent", "runs tasks", self.aws.url, self.ecs.agent))
            rows.append(StackService("ECS worker", "starts tasks", self.prefect.api_url, self.ecs.worker))
        return rows
