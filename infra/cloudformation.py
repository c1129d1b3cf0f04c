"""Update the CloudFormation stack (stack.yaml) by change sets, which show the changes before they are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.change import Action, StackChange
from infra.cloud_environment import CloudEnvironment
from millrace.base.errors import ConfigurationError, FatalError

TEMPLATE = Path(__file__).with_name("stack.yaml")
CAPABILITIES = ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
POLL_SECONDS = 2.0
NOTHING_TO_DO = ("didn't contain changes", "No updates are to be performed")
ACTIONS = {"Add": Action.CREATED, "Modify": Action.UPDATED, "Dynamic": Action.UPDATED, "Remove": Action.REMOVED}
KIND = "resource"
NAMESPACE = "WarehouseNamespace"
Progress = Callable[[str], None]
"""A function that is called with a line about each step, because a deployment takes minutes."""


def quiet(_line: str) -> None:
    """Ignore the progress."""


def outputs_of(cloud: CloudEnvironment) -> dict[str, str]:
    """Return the outputs of the stack; nothing if it does not exist."""
    stack = _describe_stack(cloud)
    return {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])} if stack else {}


def worker_image(cloud: CloudEnvironment) -> str:
    """Return the image that the worker runs now; '' if there is none."""
    stack = _describe_stack(cloud) or {}
    found = {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", [])}
    return str(found.get("WorkerImage", ""))


def status_of(cloud: CloudEnvironment) -> str | None:
    """Return the stack's status in CloudFormation; None if it does not exist."""
    stack = _describe_stack(cloud)
    return str(stack["StackStatus"]) if stack else None


def physical_id(cloud: CloudEnvironment, resource: str) -> str:
    """Return what AWS calls a resource of the stack; '' if the stack did not make it, or has let go of it."""
    client = cloud.client("cloudformation")
    try:
        found = client.describe_stack_resource(StackName=cloud.settings.stack_name, LogicalResourceId=resource)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        return ""
    detail = found["StackResourceDetail"]
    return "" if detail["ResourceStatus"].startswith("DELETE_") else str(detail["PhysicalResourceId"])


def apply_stack(
    cloud: CloudEnvironment, image: str, *, dry_run: bool = False, progress: Progress = quiet
) -> list[StackChange]:
    """Create or update the stack by template and settings, and return what changed, or would change, in it.

    Raises FatalError with the first reason if CloudFormation failed and rolled back.
    """
    status = _wait_until_settled(cloud, progress)
    if status == "ROLLBACK_COMPLETE":
        # What is left of a creation that failed can only be deleted.
        if dry_run:
            return [
                StackChange("stack", cloud.settings.stack_name, Action.CREATED, "again, because its creation failed")
            ]
        delete_stack(cloud, progress=progress)
        status = None
    is_new = status in (None, "REVIEW_IN_PROGRESS")
    changes = _change_set(cloud, image, is_new=is_new)
    if changes is None:
        return [StackChange("stack", cloud.settings.stack_name, Action.UNCHANGED)]
    name, found = changes
    if dry_run:
        _discard(cloud, name, is_new=is_new)
    else:
        before = _latest_event(cloud, cloud.settings.stack_name)
        cloud.client("cloudformation").execute_change_set(ChangeSetName=name)
        _finish(cloud, before, progress)
    return found


def delete_stack(cloud: CloudEnvironment, *, progress: Progress = quiet) -> None:
    """Delete the stack and wait. Raises FatalError if something could not be deleted."""
    client, stack = cloud.client("cloudformation"), _describe_stack(cloud)
    if stack is None:
        return
    before = _latest_event(cloud, stack["StackId"])
    client.delete_stack(StackName=stack["StackId"])
    _follow(cloud, stack["StackId"], before, progress)
    left = client.describe_stacks(StackName=stack["StackId"])["Stacks"][0]
    if left["StackStatus"] != "DELETE_COMPLETE":
        raise _failure(cloud, stack["StackId"], before, left["StackStatus"])


def _describe_stack(cloud: CloudEnvironment) -> dict[str, Any] | None:
    try:
        found = cloud.client("cloudformation").describe_stacks(StackName=cloud.settings.stack_name)
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    stack: dict[str, Any] = found["Stacks"][0]
    return None if stack["StackStatus"] == "DELETE_COMPLETE" else stack


def _wait_until_settled(cloud: CloudEnvironment, progress: Progress) -> str | None:
    """Wait until no operation is in progress, for example of an interrupted command, and return the status."""
    stack = _describe_stack(cloud)
    if stack and _is_busy(stack["StackStatus"]):
        progress(f"{stack['StackStatus']}: waiting for what was begun before")
        _follow(cloud, stack["StackId"], _latest_event(cloud, stack["StackId"]), progress)
        stack = _describe_stack(cloud)
    if stack and stack["StackStatus"].endswith("ROLLBACK_FAILED"):
        raise ConfigurationError(
            f"it is {stack['StackStatus']}: {stack.get('StackStatusReason', 'CloudFormation could not go back')}",
            place=f"stack {cloud.settings.stack_name}",
            remedy="fix the cause, then `aws cloudformation continue-update-rollback`",
        )
    return str(stack["StackStatus"]) if stack else None


def _is_busy(status: str) -> bool:
    return status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"


def _change_set(cloud: CloudEnvironment, image: str, *, is_new: bool) -> tuple[str, list[StackChange]] | None:
    """Create a change set; return its ARN and its changes, or None if there are none."""
    client = cloud.client("cloudformation")
    parameters = cloud.settings.parameters(
        worker_image=image, prefect_api_url=cloud.prefect_api_url, keeps_namespace=_keeps_namespace(cloud)
    )
    made = client.create_change_set(
        StackName=cloud.settings.stack_name,
        ChangeSetName=f"deploy-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}",
        ChangeSetType="CREATE" if is_new else "UPDATE",
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=CAPABILITIES,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Tags=[{"Key": "millrace", "Value": cloud.settings.name}],
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
        described["StatusReason"], place=f"stack {cloud.settings.stack_name}", remedy="fix its parameters"
    )


def _keeps_namespace(cloud: CloudEnvironment) -> bool:
    """Return whether an earlier stack left the warehouse's namespace, which has a fixed name and holds the tables."""
    if cloud.settings.warehouse != "serverless":
        return False
    name = cloud.settings.stack_name
    try:
        cloud.client("redshift-serverless").get_namespace(namespaceName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return False
    return not physical_id(cloud, NAMESPACE)


def _resources(client: Any, described: Mapping[str, Any]) -> Iterator[StackChange]:
    while True:
        for one in (change["ResourceChange"] for change in described["Changes"]):
            is_replaced = one.get("Replacement") == "True"
            yield StackChange(
                KIND,
                one["LogicalResourceId"],
                ACTIONS[one["Action"]],
                one["ResourceType"] + (", replaced" if is_replaced else ""),
            )
        if not described.get("NextToken"):
            return
        described = client.describe_change_set(ChangeSetName=described["ChangeSetId"], NextToken=described["NextToken"])


def _discard(cloud: CloudEnvironment, name: str, *, is_new: bool) -> None:
    cloud.client("cloudformation").delete_change_set(ChangeSetName=name)
    stack = _describe_stack(cloud)
    if is_new and stack and stack["StackStatus"] == "REVIEW_IN_PROGRESS":
        cloud.client("cloudformation").delete_stack(StackName=stack["StackId"])


def _finish(cloud: CloudEnvironment, before: str, progress: Progress) -> None:
    name = cloud.settings.stack_name
    _follow(cloud, name, before, progress)
    stack = _describe_stack(cloud)
    if stack is None or stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise _failure(cloud, name, before, stack["StackStatus"] if stack else "it is gone")


def _follow(cloud: CloudEnvironment, name: str, before: str, progress: Progress) -> None:
    """Report every event after the event ``before`` until no operation is in progress."""
    client = cloud.client("cloudformation")
    while True:
        is_busy = _is_busy(client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
        for event in reversed(list(_events(cloud, name, before))):
            before = event["EventId"]
            progress(f"{event['ResourceStatus']} {event['LogicalResourceId']}")
        if not is_busy:
            return
        time.sleep(POLL_SECONDS)


def _latest_event(cloud: CloudEnvironment, name: str) -> str:
    return next((str(one["EventId"]) for one in _events(cloud, name, "")), "")


def _events(cloud: CloudEnvironment, name: str, before: str) -> Iterator[dict[str, Any]]:
    """Yield the events after the event ``before``, the latest first.

    Events are identified by id, because clocks differ.
    """
    for page in cloud.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=name):
        for event in page["StackEvents"]:
            if event["EventId"] == before:
                return
            yield event


def _failure(cloud: CloudEnvironment, name: str, before: str, status: str) -> FatalError:
    """Return the error for the first resource that failed; the others failed because of it."""
    failed = [one for one in _events(cloud, name, before) if one["ResourceStatus"].endswith("_FAILED")]
    first = failed[-1] if failed else {"LogicalResourceId": name}
    return FatalError(
        f"{first.get('ResourceStatusReason') or 'CloudFormation names no reason'} ({status})",
        place=f"stack {cloud.settings.stack_name}, {first['LogicalResourceId']}",
        remedy="fix that, then run the command again: it continues from what exists",
    )
