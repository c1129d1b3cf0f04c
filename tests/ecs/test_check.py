"""``python -m infra.deploy check``: a task on ECS tells what runs would miss, each fault with what fixes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from infra import check
from infra.deploy import application
from tests.ecs.chain import Chain

SECRET = "millrace/local/SOURCE_POSTGRES_URL"
Outcomes = dict[str, dict[str, Any]]


def checked(chain: Chain) -> Outcomes:
    """What the command says, by place and name of the check. Of `totesys` nobody made the tables here."""
    done = CliRunner().invoke(application, ["check", "--env", "local", "--json"], env=chain.stack.environment())
    assert done.exit_code == 1, done.output + repr(done.exception)
    found = json.loads(done.output[done.output.index("[\n") :])
    return {f"{one['place']}: {one['name']}": one for one in found}


def wrong(outcomes: Outcomes) -> set[str]:
    named = {name for name, one in outcomes.items() if one["result"] == "wrong"}
    return {name for name in named if not name.startswith("source-postgres-totesys:")}


@contextmanager
def secret_value(chain: Chain, value: str) -> Iterator[None]:
    """Another value of the secret until the end of this."""
    client = chain.stack.aws.client("secretsmanager")
    before = client.get_secret_value(SecretId=SECRET)["SecretString"]
    client.put_secret_value(SecretId=SECRET, SecretString=value)
    yield
    client.put_secret_value(SecretId=SECRET, SecretString=before)


def test_what_is_well_is_ok_by_the_secrets_and_variables_of_a_task(chain: Chain) -> None:
    outcomes = checked(chain)
    assert wrong(outcomes) == set()
    names = ("source-postgres: login", "warehouse: copy", "landing: write once", "alerts: topic", "prefect: blocks")
    assert {outcomes[name]["result"] for name in names} == {"ok"}
    families = chain.stack.aws.client("ecs").list_task_definitions(familyPrefix="millrace-local-flow-check")
    assert families["taskDefinitionArns"] == [], "the definition is only for this task"


def test_a_task_that_does_not_start_is_told_with_its_reason(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    # Unlike AWS the emulator does not tell apart a task that never started: its log is waited for.
    monkeypatch.setattr(check, "LOG_SECONDS", 1.0)
    arguments = ["check", "--env", "local", "--image", "millrace:gone"]
    with chain.without_a_secret():
        done = CliRunner().invoke(application, arguments, env=chain.stack.environment())
    assert done.exit_code == 1
    assert "it is scheduled for deletion" in done.output
    assert re.search(r"aws secretsmanager restore-secret --secret-id millrace/local/\w+_URL` brings", done.output)
    assert "CannotPullContainerError: failed to resolve ref millrace:gone: not found" in done.output
    assert "Remedy: see that the image is there, and that the tasks' subnets lead to ECR" in done.output


def test_up_ends_with_what_is_left_with_the_command_of_this_environment(chain: Chain) -> None:
    url = chain.stack.environment()["SOURCE_POSTGRES_URL"]
    user = url.partition("://")[2].partition(":")[0]
    with secret_value(chain, url.replace(f"{user}:", f"{user}:n0t-the-password-", 1)):
        done = CliRunner().invoke(application, ["up", "--env", "local"], env=chain.stack.environment())
    assert done.exit_code == 0, done.output
    left = [line for line in done.output.splitlines() if line.startswith("! check ")]
    (told,) = (line for line in left if "source-postgres-totesys:" not in line)
    assert told.startswith("! check source-postgres: login: left (")
    assert "up --env local --set-secrets" in told
    assert "n0t-the-password" not in done.output
    assert done.output.endswith("No change.\n")
