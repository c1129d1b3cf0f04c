"""A stack that CloudFormation gave up, on the emulator: what is told, what is left, how it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from infra import cloudformation
from infra.change import Action
from infra.cloud_environment import CloudEnvironment
from infra.cloudformation import apply_stack, delete_stack, outputs_of, status_of
from infra.settings import Settings
from infra.teardown import remove_unfinished
from local.stack import Stack
from millrace.base.errors import FatalError

QUEUE = "Queue: {Type: AWS::SQS::Queue}"
# Nobody ever signals it.
NEVER = """
  Handle: {Type: AWS::CloudFormation::WaitConditionHandle}
  Never:
    Type: AWS::CloudFormation::WaitCondition
    DependsOn: Queue
    Properties: {Handle: !Ref Handle, Timeout: "1"}
"""


@pytest.fixture
def target(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> CloudEnvironment:
    monkeypatch.setattr(cloudformation, "POLL_SECONDS", 0.1)
    return CloudEnvironment(Settings(name="failing", worker=False), stack.aws.environment())


@pytest.fixture
def template(target: CloudEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the place of the stack's own, with the same parameters."""
    path = tmp_path / "stack.yaml"
    monkeypatch.setattr(cloudformation, "TEMPLATE", path)
    return path


def write(template: Path, target: CloudEnvironment, resources: str) -> None:
    parameters = target.settings.parameters(worker_image="", prefect_api_url="")
    lines = [f"  {name}: {{Type: String, Default: ''}}" for name in parameters]
    outputs = "Outputs:\n  QueueUrl: {Value: !Ref Queue}\n"
    template.write_text("\n".join(["Parameters:", *lines, "Resources:", f"  {resources}", outputs]))


@temporary_settings({PREFECT_API_URL: "https://prefect.example.com/api"})
def test_what_failed_is_named_and_the_next_attempt_goes_on(target: CloudEnvironment, template: Path) -> None:
    write(template, target, QUEUE + NEVER)
    seen: list[str] = []
    with pytest.raises(FatalError, match=r"stack millrace-failing, Never: .*\(ROLLBACK_COMPLETE\)\. Remedy: fix that"):
        apply_stack(target, "", progress=seen.append)
    assert "CREATE_FAILED Never" in seen
    assert status_of(target) == "ROLLBACK_COMPLETE"
    write(template, target, QUEUE)
    assert [one.detail for one in apply_stack(target, "", dry_run=True)] == ["again, because its creation failed"]
    assert status_of(target) == "ROLLBACK_COMPLETE"
    assert [(one.name, one.action) for one in apply_stack(target, "")] == [("Queue", Action.CREATED)]
    assert outputs_of(target)["QueueUrl"]
    write(template, target, QUEUE + NEVER)
    with pytest.raises(FatalError, match=r"Never: .*\(UPDATE_ROLLBACK_COMPLETE\)"):
        apply_stack(target, "")
    write(template, target, QUEUE)
    assert [one.action for one in apply_stack(target, "")] == [Action.UNCHANGED]
    delete_stack(target)
    assert status_of(target) is None


@temporary_settings({PREFECT_API_URL: "https://prefect.example.com/api"})
def test_what_is_left_of_a_failed_creation_can_be_removed(target: CloudEnvironment, template: Path) -> None:
    write(template, target, QUEUE + NEVER)
    with pytest.raises(FatalError):
        apply_stack(target, "")
    assert [one.action for one in remove_unfinished(target)] == [Action.REMOVED]
    assert [one.action for one in remove_unfinished(target)] == [Action.UNCHANGED]
