"""The stack of stack.yaml: brought up to date by change sets, so that what would change is known before it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.change import Action, Change
from infra.target import Target
from millrace.base.errors import ConfigurationError, FatalError

TEMPLATE = Path(__file__).with_name("stack.yaml")
CAPABILITIES = ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
POLL_SECONDS = 2.0
NOTHING_TO_DO = ("didn't contain changes", "No updates are to be performed")
ACTIONS = {"Add": Action.CREATED, "Modify": Action.UPDATED, "Dynamic": Action.UPDATED, "Remove": Action.REMOVED}
KIND = "resource"
Progress = Callable[[str], None]
"""Told what happens while it takes minutes."""


def quiet(_line: str) -> None:
    """Tells nobody."""


def outputs_of(target: Target) -> dict[str, str]:
    """Of the stack as it is; empty if there is none."""
    stack = _described(target)
    return {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])} if stack else {}


def worker_image(target: Target) -> str:
    """What the worker runs now; empty if there is none."""
    stack = _described(target) or {}
    found = {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", [])}
    return str(found.get("WorkerImage", ""))


def status_of(target: Target) -> str | None:
    """CloudFormation's word for it; None if there is no stack."""
    stack = _described(target)
    return str(stack["StackStatus"]) if stack else None


def apply_stack(target: Target, image: str, *, dry_run: bool = False, progress: Progress = quiet) -> list[Change]:
    """Make or change it until it is as the template and the settings say; what was done, or would be, to what in it.

    Raises FatalError with the first reason if CloudFormation gave up, and went back to what was before.
    """
    status = _settled(target, progress)
    if status == "ROLLBACK_COMPLETE":
        # What is left of a creation that failed can only be deleted.
        if dry_run:
            return [Change("stack", target.settings.stack_name, Action.CREATED, "anew, as its creation failed")]
        delete_stack(target, progress=progress)
        status = None
    is_new = status in (None, "REVIEW_IN_PROGRESS")
    changes = _change_set(target, image, is_new=is_new)
    if changes is None:
        return [Change("stack", target.settings.stack_name, Action.UNCHANGED)]
    name, found = changes
    if dry_run:
        _discard(target, name, is_new=is_new)
    else:
        before = _latest_event(target, target.settings.stack_name)
        target.client("cloudformation").execute_change_set(ChangeSetName=name)
        _finish(target, before, progress)
    return found


def delete_stack(target: Target, *, progress: Progress = quiet) -> None:
    """Delete it and wait. Raises FatalError if something could not be deleted."""
    client, stack = target.client("cloudformation"), _described(target)
    if stack is None:
        return
    before = _latest_event(target, stack["StackId"])
    client.delete_stack(StackName=stack["StackId"])
    _follow(target, stack["StackId"], before, progress)
    left = client.describe_stacks(StackName=stack["StackId"])["Stacks"][0]
    if left["StackStatus"] != "DELETE_COMPLETE":
        raise _failure(target, stack["StackId"], before, left["StackStatus"])


def _described(target: Target) -> dict[str, Any] | None:
    try:
        found = target.client("cloudformation").describe_stacks(StackName=target.settings.stack_name)
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    stack: dict[str, Any] = found["Stacks"][0]
    return None if stack["StackStatus"] == "DELETE_COMPLETE" else stack


def _settled(target: Target, progress: Progress) -> str | None:
    """Its status once nobody works on it: an earlier command may have been interrupted."""
    stack = _described(target)
    if stack and _is_busy(stack["StackStatus"]):
        progress(f"{stack['StackStatus']}: waiting for what was begun before")
        _follow(target, stack["StackId"], _latest_event(target, stack["StackId"]), progress)
        stack = _described(target)
    if stack and stack["StackStatus"].endswith("ROLLBACK_FAILED"):
        raise ConfigurationError(
            f"it is {stack['StackStatus']}: {stack.get('StackStatusReason', 'CloudFormation could not go back')}",
            place=f"stack {target.settings.stack_name}",
            remedy="mend the cause, then `aws cloudformation continue-update-rollback`",
        )
    return str(stack["StackStatus"]) if stack else None


def _is_busy(status: str) -> bool:
    return status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"


def _change_set(target: Target, image: str, *, is_new: bool) -> tuple[str, list[Change]] | None:
    """The ARN of a change set and what it would do; None if nothing."""
    client = target.client("cloudformation")
    parameters = target.settings.parameters(worker_image=image, prefect_api_url=target.prefect_api_url)
    made = client.create_change_set(
        StackName=target.settings.stack_name,
        ChangeSetName=f"deploy-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}",
        ChangeSetType="CREATE" if is_new else "UPDATE",
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=CAPABILITIES,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Tags=[{"Key": "millrace", "Value": target.settings.name}],
    )
    while (described := client.describe_change_set(ChangeSetName=made["Id"]))["Status"].endswith(
        ("PENDING", "IN_PROGRESS")
    ):
        time.sleep(POLL_SECONDS)
    if described["Status"] == "CREATE_COMPLETE":
        return made["Id"], list(_resources(client, described))
    client.delete_change_set(ChangeSetName=made["Id"])
    if any(words in described["StatusReason"] for words in NOTHING_TO_DO):
        return None
    raise ConfigurationError(
        described["StatusReason"], place=f"stack {target.settings.stack_name}", remedy="mend its parameters"
    )


def _resources(client: Any, described: Mapping[str, Any]) -> Iterator[Change]:
    while True:
        for one in (change["ResourceChange"] for change in described["Changes"]):
            is_replaced = one.get("Replacement") == "True"
            yield Change(
                KIND,
                one["LogicalResourceId"],
                ACTIONS[one["Action"]],
                one["ResourceType"] + (", replaced" if is_replaced else ""),
            )
        if not described.get("NextToken"):
            return
        described = client.describe_change_set(ChangeSetName=described["ChangeSetId"], NextToken=described["NextToken"])


def _discard(target: Target, name: str, *, is_new: bool) -> None:
    target.client("cloudformation").delete_change_set(ChangeSetName=name)
    stack = _described(target)
    if is_new and stack and stack["StackStatus"] == "REVIEW_IN_PROGRESS":
        target.client("cloudformation").delete_stack(StackName=stack["StackId"])


def _finish(target: Target, before: str, progress: Progress) -> None:
    name = target.settings.stack_name
    _follow(target, name, before, progress)
    stack = _described(target)
    if stack is None or stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise _failure(target, name, before, stack["StackStatus"] if stack else "it is gone")


def _follow(target: Target, name: str, before: str, progress: Progress) -> None:
    """Until nobody works on it any more, telling every event after that one."""
    client = target.client("cloudformation")
    while True:
        is_busy = _is_busy(client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
        for event in reversed(list(_events(target, name, before))):
            before = event["EventId"]
            progress(f"{event['ResourceStatus']} {event['LogicalResourceId']}")
        if not is_busy:
            return
        time.sleep(POLL_SECONDS)


def _latest_event(target: Target, name: str) -> str:
    return next((str(one["EventId"]) for one in _events(target, name, "")), "")


def _events(target: Target, name: str, before: str) -> Iterator[dict[str, Any]]:
    """After that one, the latest first. Their ids, as clocks differ."""
    for page in target.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=name):
        for event in page["StackEvents"]:
            if event["EventId"] == before:
                return
            yield event


def _failure(target: Target, name: str, before: str, status: str) -> FatalError:
    """The first resource that failed is the cause; the others were given up because of it."""
    failed = [one for one in _events(target, name, before) if one["ResourceStatus"].endswith("_FAILED")]
    first = failed[-1] if failed else {"LogicalResourceId": name}
    return FatalError(
        f"{first.get('ResourceStatusReason') or 'no reason is told'} ({status})",
        place=f"stack {target.settings.stack_name}, {first['LogicalResourceId']}",
        remedy="mend that, then run it again: it goes on from what is there",
    )
