"""From Prefect's server by way of worker, ECS and container to the warehouse, and back with what became of it."""

from __future__ import annotations

from tests.ecs.chain import DEPLOYMENT, TRADES, Chain


def test_a_run_from_the_terminal_fills_the_warehouse(chain: Chain) -> None:
    output = chain.command("prefect", "deployment", "run", DEPLOYMENT, "--watch")
    assert "finished successfully in 'Completed'" in output
    assert chain.loaded("stori.transactions") == chain.expected() > 0
    assert chain.loaded("stori.trades") == TRADES


def test_a_task_that_cannot_start_crashes_its_run_with_the_reason(chain: Chain) -> None:
    run = chain.run(image="millrace:never-built")
    assert chain.state_of(run).name == "Crashed"
    chain.wait_until_logged(run, "CannotPullContainerError: failed to resolve ref millrace:never-built: not found")


def test_a_killed_container_crashes_its_run_and_the_next_run_repairs(chain: Chain) -> None:
    chain.change_source()
    with chain.held_source():
        killed = chain.run()
        chain.wait_until_held(killed)
        chain.ecs.kill(chain.task_arn(killed))
        assert "non-zero exit code: ['prefect']" in str(chain.state_of(killed).message)
    assert chain.flow_run(killed).state_name == "Crashed"
    chain.wait_until_logged(killed, "Container 'prefect' exited with code 137")
    chain.let_leases_end()
    repairing = chain.run()
    assert chain.state_of(repairing).name == "Completed"
    assert chain.loaded("stori.transactions") == chain.expected()
    assert chain.task(repairing)["taskDefinitionArn"] == chain.task(killed)["taskDefinitionArn"]


def test_a_run_beside_a_run_is_cancelled_and_a_cancelled_run_stops_its_task(chain: Chain) -> None:
    with chain.held_source():
        first = chain.run()
        chain.wait_until_held(first)
        assert chain.state_of(chain.run()).name == "Cancelled"
        chain.command("prefect", "flow-run", "cancel", str(first))
        assert chain.state_of(first).name == "Cancelled"
        chain.wait_until_stopped(first)
