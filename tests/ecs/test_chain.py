"""From Prefect's server by way of worker, ECS and container to the warehouse, and back with what became of it."""

from __future__ import annotations

import pytest

from millrace.flows.turn import WAITING
from tests.ecs import runbook
from tests.ecs.chain import Chain
from tests.ecs.ends import TRADES
from tests.support.steps import steps_of, take_steps


def step_a_run_from_the_terminal_fills_the_warehouse(chain: Chain) -> None:
    said = runbook.run(chain.stack, runbook.RUN_AND_WATCH)
    assert "finished successfully in 'Completed'" in said
    assert chain.ends.loaded("stori.transactions") == chain.ends.expected() > 0
    assert chain.ends.loaded("stori.trades") == TRADES


def step_a_retry_goes_on_where_the_run_failed(chain: Chain) -> None:
    chain.ends.change()
    before = len(chain.ends.batches())
    with chain.ends.refusing_target("stori.trades"):
        run = chain.run()
        assert chain.state_of(run).name == "Failed"
        assert chain.ends.batches()[before:] == ["transactions"]
        chain.inbox.mail_with("[millrace] stori: replicate failed", str(run))
    runbook.run(chain.stack, runbook.RETRY, RUN=str(run))
    assert chain.state_of(run).name == "Completed"
    assert chain.flow_run(run).run_count == 2
    assert chain.ends.batches()[before:] == ["transactions", "trades"]


def step_a_killed_container_is_told_and_the_next_scheduled_run_repairs(chain: Chain) -> None:
    chain.ends.change()
    with chain.ends.held_source():
        killed = chain.run()
        chain.wait_until_held(killed)
        chain.ecs.kill(chain.task(killed)["taskArn"])
        state = chain.state_of(killed)
    assert state.name == "Crashed"
    assert "non-zero exit code: ['prefect']" in str(state.message)
    chain.wait_until_logged(killed, "Container 'prefect' exited with code 137")
    chain.inbox.mail_with("[millrace] stori: replicate crashed", str(killed))
    chain.ends.let_leases_end()
    repairing = chain.scheduled_run()
    assert repairing.auto_scheduled
    assert chain.state_of(repairing.id).name == "Completed"
    assert chain.ends.loaded("stori.transactions") == chain.ends.expected()
    assert chain.task(repairing.id)["taskDefinitionArn"] == chain.task(killed)["taskDefinitionArn"]


def step_a_run_beside_a_run_waits_for_its_turn_and_a_cancelled_run_stops_its_task(chain: Chain) -> None:
    """A person asked for both. The lease of the first one may still stand: then the second one says so, and ends."""
    with chain.ends.held_source():
        first = chain.run()
        chain.wait_until_held(first)
        second = chain.run()
        chain.wait_for_state(second, WAITING)
        runbook.run(chain.stack, runbook.CANCEL, RUNNING=str(first))
    assert chain.state_of(first).name == "Cancelled"
    chain.wait_until_stopped(first)
    assert chain.state_of(second).name == "Completed"
    chain.ends.let_leases_end()


def step_a_run_cancelled_before_its_task_starts_does_nothing(chain: Chain) -> None:
    """Prefect's worker watches for that only while it submits; from then on the container finds out when it starts."""
    with chain.held_agent():
        run = chain.run()
        chain.wait_until_submitted(run)
        chain.cancel(run)
        assert chain.flow_run(run).state_name == "Cancelling"
    assert chain.state_of(run).message == "Flow run was cancelled before execution started."
    assert "Running" not in [state.name for state in chain.client.read_flow_run_states(run)]


UNABLE_TO_START = (
    ({"image": "millrace:never-built"}, "CannotPullContainerError: failed to resolve ref millrace:never-built"),
    ({"command": "/no/such/program --now"}, 'CannotStartContainerError: exec: "/no/such/program"'),
)


def step_a_task_that_cannot_start_crashes_its_run_with_the_reason(chain: Chain) -> None:
    for asked, reason in UNABLE_TO_START:
        run = chain.run(**asked)
        assert chain.state_of(run).name == "Crashed"
        chain.wait_until_logged(run, reason)


def step_without_one_of_its_secrets_a_task_does_not_start(chain: Chain) -> None:
    with chain.without_a_secret():
        run = chain.run()
        assert chain.state_of(run).name == "Crashed"
    chain.wait_until_logged(run, "ResourceInitializationError: unable to pull secrets")


def test_runs_of_an_environment(chain: Chain, subtests: pytest.Subtests) -> None:
    """The first one fills the warehouse that the later ones change."""
    take_steps(steps_of(globals()), subtests, chain)
