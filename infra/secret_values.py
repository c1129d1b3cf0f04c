"""The values of the stack's secrets, which are set from the operator's environment variables.

A value is written only if there is none, or if the operator asks for it: a variable that happens to be set in a
terminal must not replace what production uses. No value is ever shown.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from botocore.exceptions import ClientError

from infra.change import Action, StackChange
from infra.cloud_environment import CloudEnvironment

KIND = "secret"
RECOVERY_DAYS = 30
DELETED = "it is scheduled for deletion"
RESTORE = "aws secretsmanager restore-secret --secret-id"


def apply_secrets(cloud: CloudEnvironment, *, overwrite: bool, dry_run: bool = False) -> list[StackChange]:
    """Set secrets without a value, with ``overwrite`` also those with another one; fills ``cloud.secret_arns``.

    A secret that stays without a value is left out of the tasks, because they could not start otherwise.
    """
    client = cloud.client("secretsmanager")
    cloud.secret_arns |= cloud.settings.secret_arns
    given = {name: cloud.variables.get(name) for name in cloud.settings.secret_variables()}
    if cloud.settings.prefect_credential != "none":
        given[cloud.settings.prefect_credential] = cloud.prefect_credential()
    return [
        # The operator's own key of Prefect, from the profile, must not replace production's by the way.
        _apply(
            cloud, client, variable, value, overwrite=overwrite and bool(cloud.variables.get(variable)), dry_run=dry_run
        )
        for variable, value in given.items()
    ]


def keep_values(cloud: CloudEnvironment, wanted: Collection[str] = ()) -> list[StackChange]:
    """Copy the values of secrets that the stack will delete, so that they can be had back for a month.

    CloudFormation deletes a secret without recovery. ``wanted`` are the variables of those that stay.
    """
    client, prefix = cloud.client("secretsmanager"), f"{cloud.outputs['SecretsPrefix']}/"
    pages = client.get_paginator("list_secrets").paginate(Filters=[{"Key": "name", "Values": [prefix]}])
    names = [one["Name"] for page in pages for one in page["SecretList"] if one["Name"].startswith(prefix)]
    leaving = [name.removeprefix(prefix) for name in names if name.removeprefix(prefix) not in wanted]
    return [_keep(client, prefix, variable) for variable in leaving if "/" not in variable]


def _keep(client: Any, prefix: str, variable: str) -> StackChange:
    """Copy a value to a secret that is scheduled for deletion."""
    value = _read_value(client, f"{prefix}{variable}")
    if value is None:
        return StackChange(KIND, variable, Action.REMOVED)
    copy = f"{prefix}removed/{variable}"
    try:
        client.create_secret(Name=copy, SecretString=value)
    except ClientError:
        # It was removed before, less than a month ago.
        client.restore_secret(SecretId=copy)
        client.put_secret_value(SecretId=copy, SecretString=value)
    client.delete_secret(SecretId=copy, RecoveryWindowInDays=RECOVERY_DAYS)
    remedy = f"for {RECOVERY_DAYS} days `{RESTORE} {copy}` brings its value back"
    return StackChange(KIND, variable, Action.REMOVED, remedy)


def _apply(
    cloud: CloudEnvironment, client: Any, variable: str, value: str | None, *, overwrite: bool, dry_run: bool
) -> StackChange:
    name = f"{cloud.outputs['SecretsPrefix']}/{variable}"
    described = _describe(client, name)
    if described is None:
        action = Action.CREATED if value and dry_run else Action.LEFT
        return StackChange(KIND, variable, action, f"it is not there yet: `up` with {variable} set here makes it")
    if "DeletedDate" in described:
        # Nobody can read or write it, and a task that names it does not start.
        return StackChange(KIND, variable, Action.LEFT, f"{DELETED}: `{RESTORE} {name}` brings its value back")
    arn, stored = described["ARN"], _read_value(client, name)
    if stored is None and not value:
        remedy = f"it has no value: set {variable} here, or `aws secretsmanager put-secret-value --secret-id {name}`"
        return StackChange(KIND, variable, Action.LEFT, remedy)
    cloud.secret_arns[variable] = arn
    if stored is not None and (not value or not overwrite or value == stored):
        return StackChange(KIND, variable, Action.UNCHANGED)
    if not dry_run:
        client.put_secret_value(SecretId=arn, SecretString=value)
    return StackChange(KIND, variable, Action.UPDATED if stored is not None else Action.CREATED)


def _describe(client: Any, name: str) -> dict[str, Any] | None:
    """Return a secret; None if the stack was not updated since it was declared."""
    try:
        described: dict[str, Any] = client.describe_secret(SecretId=name)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return None
        raise
    return described


def _read_value(client: Any, name: str) -> str | None:
    """Return the value of a secret; None if nobody has set one."""
    try:
        # The emulator says '' where AWS says that there is no version.
        return client.get_secret_value(SecretId=name)["SecretString"] or None
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return None
        raise
