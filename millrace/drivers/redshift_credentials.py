"""Credentials of Redshift that AWS mints for an identity, in place of a password.

They are needed to log in, not to stay: a session goes on when its credentials expire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

import boto3

from millrace.base.errors import ConfigurationError
from millrace.drivers.botocore_errors import redshift_errors

LIFETIME_SECONDS = 900
"""The least that AWS gives, and its default."""
RENEWED_BEFORE = timedelta(seconds=60)
"""How long before they expire credentials are not used any more: a login waits for a Serverless warehouse to wake."""
OPTIONS = frozenset({"workgroup", "cluster", "region", "role_arn", "external_id"})
"""The options of a URL that say whose credentials are minted, and for which warehouse."""
_HOST = re.compile(
    r"(?P<name>[^.]+)\.[^.]+\.(?P<region>[^.]+)\.redshift(?P<serverless>-serverless)?\.amazonaws\.com(\.cn)?"
)
SESSION_NAME = "millrace"


@dataclass(frozen=True)
class RedshiftAccess:
    """Which credentials AWS is asked for."""

    database: str
    workgroup: str = ""
    """The workgroup of Redshift Serverless; '': the warehouse is a cluster."""
    cluster: str = ""
    region: str | None = None
    """The region of the warehouse; None stands for the one that AWS's own variables and files say."""
    user: str = ""
    """A user that is in the cluster; '': the one of the identity, ``IAMR:<role>``, which Redshift makes."""
    role_arn: str = ""
    """The role that asks, of another account perhaps; '': the one with which this runs."""
    external_id: str = ""

    @property
    def place(self) -> str:
        """What errors name."""
        return f"workgroup {self.workgroup}" if self.workgroup else f"cluster {self.cluster}"


@dataclass(frozen=True)
class RedshiftCredentials:
    """A user with a password that holds for minutes."""

    user: str
    password: str = field(repr=False)
    expires_at: datetime


def access_of(host: str, database: str, user: str, options: Mapping[str, str], *, place: str) -> RedshiftAccess:
    """Return the access that a URL describes by its host and its options.

    Raises ConfigurationError, naming ``place``, if neither names the warehouse, or a user stands where AWS chooses it.
    """
    said = {name: value for name, value in options.items() if name in OPTIONS}
    if match := _HOST.fullmatch(host.lower()):
        kind = "workgroup" if match["serverless"] else "cluster"
        named = {"region": match["region"]} | (
            {kind: match["name"]} if not {"workgroup", "cluster"} & said.keys() else {}
        )
        said = named | said
    if ("workgroup" in said) == ("cluster" in said):
        raise ConfigurationError(
            "the URL does not say which warehouse credentials are for",
            place=place,
            remedy="write ?workgroup=name (Serverless) or ?cluster=name, and &region=; a host of AWS says both itself",
        )
    if user and "workgroup" in said:
        raise ConfigurationError(
            "on Redshift Serverless AWS chooses the user", place=place, remedy="leave out what stands before the @"
        )
    return RedshiftAccess(database, user=user, **said)


class Minter:
    """Mints credentials and keeps them until shortly before they expire. Threads may share it."""

    def __init__(self, access: RedshiftAccess) -> None:
        self._access = access
        self._minted: RedshiftCredentials | None = None
        self._lock = Lock()

    def credentials(self) -> RedshiftCredentials:
        """Return credentials that hold for a login now. Raises what ``redshift_errors`` makes of AWS's answers."""
        with self._lock:
            if self._minted is None or self._minted.expires_at - RENEWED_BEFORE <= datetime.now(UTC):
                with redshift_errors(self._access.place):
                    self._minted = _mint(self._access)
            return self._minted


def _mint(access: RedshiftAccess) -> RedshiftCredentials:
    session = _session(access)
    if access.workgroup:
        answer = session.client("redshift-serverless").get_credentials(
            workgroupName=access.workgroup, dbName=access.database, durationSeconds=LIFETIME_SECONDS
        )
        return RedshiftCredentials(answer["dbUser"], answer["dbPassword"], answer["expiration"])
    asked = {"ClusterIdentifier": access.cluster, "DbName": access.database, "DurationSeconds": LIFETIME_SECONDS}
    client = session.client("redshift")
    if access.user:
        answer = client.get_cluster_credentials(**asked, DbUser=access.user, AutoCreate=False)
    else:
        answer = client.get_cluster_credentials_with_iam(**asked)
    return RedshiftCredentials(answer["DbUser"], answer["DbPassword"], answer["Expiration"])


def _session(access: RedshiftAccess) -> Any:
    session = boto3.Session(region_name=access.region)
    if not access.role_arn:
        return session
    external = {"ExternalId": access.external_id} if access.external_id else {}
    assumed = session.client("sts").assume_role(RoleArn=access.role_arn, RoleSessionName=SESSION_NAME, **external)
    keys = assumed["Credentials"]
    return boto3.Session(
        keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=session.region_name
    )
