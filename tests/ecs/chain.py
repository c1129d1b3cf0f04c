"""The chain as somebody at a terminal drives it, and a look at both of its ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State

from local.ecs import CLUSTER, Ecs
from local.processes import neutral_environment
from local.stack import BANK_DATABASE, WAREHOUSE_DATABASE, Stack
from seed_data.stori.changes import change_transactions

REPOSITORY = Path(__file__).parents[2]
DEADLINE_SECONDS = 120
POLL_SECONDS = 0.2
TRANSACTIONS, TRADES = 400, 200
DEPLOYMENT = "replicate/stori"

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@dataclass(frozen=True)
class Chain:
    """Prefect's server and worker, the emulator, the agent; and both ends, where rows come from and go to."""

    stack: Stack
    ecs: Ecs
    client: SyncPrefectClient

    def command(self, *arguments: str, **variables: str) -> str:
        """Run ``python -m`` with these arguments in the repository, as somebody who pasted what `make up` prints."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=REPOSITORY,
            env=neutral_environment() | self.stack.environment() | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, **job_variables: Any) -> UUID:
        """Ask for a run, as the UI's button does; gives its id."""
        deployment = self.client.read_deployment_by_name(DEPLOYMENT)
        return self.client.create_flow_run_from_deployment(deployment.id, job_variables=job_variables).id

    def state_of(self, run: UUID) -> State:
        """The state in which the run ended."""
        self._wait(lambda: self._state(run).is_final())
        return self._state(run)

    def _state(self, run: UUID) -> State:
        state = self.flow_run(run).state
        assert state is not None
        return state

    def flow_run(self, run: UUID) -> FlowRun:
        """As Prefect has it now."""
        return self.client.read_flow_run(run)

    def task_arn(self, run: UUID) -> str:
        """Of the ECS task of this run."""
        identifier = self.flow_run(run).infrastructure_pid
        assert identifier is not None
        return identifier.partition("::")[2]

    def loaded(self, table: str) -> int:
        """Rows of a table of the warehouse."""
        return int(self._ask(WAREHOUSE_DATABASE, f"SELECT count(*) FROM {table}")[0])

    def expected(self) -> int:
        """Transactions of the source."""
        return int(self._ask(BANK_DATABASE, "SELECT count(*) FROM transactions")[0])

    def wait_until_logged(self, run: UUID, words: str) -> None:
        """Until the run's log on Prefect's server says so. What the observer writes comes a moment after the state."""
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
        self._wait(lambda: any(words in log.message for log in self.client.read_logs(wanted)))

    @contextmanager
    def held_source(self) -> Iterator[None]:
        """Whoever reads transactions waits until the end of this."""
        with closing(self._connection(BANK_DATABASE)) as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLE transactions IN ACCESS EXCLUSIVE MODE")
            yield

    def wait_until_held(self, run: UUID) -> None:
        """Until the run waits for the held source."""
        self._wait(lambda: self._state(run).is_running() and self._ask(BANK_DATABASE, WAITING)[0] > 0)

    def task(self, run: UUID) -> dict[str, Any]:
        """As ECS tells it."""
        found = self.stack.aws.client("ecs").describe_tasks(cluster=CLUSTER, tasks=[self.task_arn(run)])
        return dict(found["tasks"][0])

    def wait_until_stopped(self, run: UUID) -> None:
        """Until ECS tells that the run's task is stopped."""
        self._wait(lambda: self.task(run)["lastStatus"] == "STOPPED")

    def change_source(self) -> None:
        """Insert a hundred transactions and update a hundred."""
        with closing(self._connection(BANK_DATABASE)) as connection:
            change_transactions(connection, inserts=100, updates=100, seed=1)

    def let_leases_end(self) -> None:
        """As if the two minutes had gone by for which a dead run keeps its streams."""
        self._ask(WAREHOUSE_DATABASE, "UPDATE millrace.leases SET expires_at = expires_at - interval '1 hour'")

    def _wait(self, is_met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not is_met():
            assert time.monotonic() < deadline, self.told()
            time.sleep(POLL_SECONDS)

    def _connection(self, database: str) -> Any:
        return psycopg2.connect(self.stack.postgres.url(database))

    def _ask(self, database: str, statement: str) -> tuple[Any, ...]:
        with closing(self._connection(database)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return tuple(cursor.fetchone()) if cursor.description else ()

    def told(self) -> str:
        """The ends of all logs: of agent, worker and containers."""
        logs = [self.ecs.agent.log_path, self.ecs.worker.log_path, *self.ecs.tasks.glob("*/log")]
        return "\n".join(f"{path}\n{path.read_text()[-3000:]}" for path in logs)
