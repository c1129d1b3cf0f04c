"""The environment that is deployed to: its settings, clients of AWS, Prefect's API, and the outputs of its stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import boto3
import httpx
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL

from infra.settings import Settings
from millrace.base.errors import ConfigurationError, Unreachable
from millrace.base.redact import redact
from millrace.blocks.api import translate_error

LENGTH_TOLD = 500
OF_THE_EMULATOR = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass
class CloudEnvironment:
    """One environment that is deployed to."""

    settings: Settings
    """The settings in its file."""
    variables: Mapping[str, str]
    """The operator's environment variables, from which secrets may be set."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Outputs of the stack; empty until it exists."""
    secret_arns: dict[str, str] = field(default_factory=dict)
    """ARNs of the secrets that have a value, by variable."""

    @cached_property
    def session(self) -> boto3.Session:
        """A session of AWS in the environment's region."""
        known = self.emulator()
        return boto3.Session(
            region_name=self.settings.region or self.variables.get("AWS_DEFAULT_REGION"),
            aws_access_key_id=known.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=known.get("AWS_SECRET_ACCESS_KEY"),
        )

    @cached_property
    def account(self) -> str:
        """Number of the AWS account of the operator's credentials."""
        return str(self.client("sts").get_caller_identity()["Account"])

    def client(self, service: str) -> Any:
        """Return a client of an AWS service."""
        return self.session.client(service, endpoint_url=self.emulator().get("AWS_ENDPOINT_URL"))

    def check(self) -> None:
        """Check credentials and Prefect's API before anything is changed.

        Raises ConfigurationError if the AWS account is not the environment's or no Prefect server is named, Unreachable
        if the server does not answer.
        """
        if self.settings.account not in (None, self.account):
            raise ConfigurationError(
                f"these credentials are of account {self.account}, not {self.settings.account}",
                place=f"environment {self.settings.name}",
                remedy="choose another AWS profile (AWS_PROFILE)",
            )
        if not PREFECT_API_URL.value():
            raise ConfigurationError(
                "no Prefect server is named",
                place="PREFECT_API_URL",
                remedy="`prefect cloud login`, or set it to your server's API",
            )
        with self.prefect() as client:
            if (problem := client.api_healthcheck()) is not None:
                raise Unreachable(
                    redact(problem),
                    place="Prefect's API",
                    remedy="check that PREFECT_API_URL is right and the server runs",
                )

    @property
    def prefect_api_url(self) -> str:
        """Address of Prefect's API as the worker reaches it.

        Raises ConfigurationError for an address of this machine.
        """
        url = self.settings.prefect_api_url or str(PREFECT_API_URL.value())
        if self.settings.worker and httpx.URL(url).host in ("localhost", "127.0.0.1", "::1"):
            raise ConfigurationError(
                f"the worker cannot reach {url}",
                place=f"environment {self.settings.name}",
                remedy="set PREFECT_API_URL, or the setting prefect_api_url, to an address that AWS reaches",
            )
        return url

    def prefect_credential(self) -> str | None:
        """Return the credential that Prefect's API requires, from the operator's Prefect profile."""
        setting = {"PREFECT_API_KEY": PREFECT_API_KEY, "PREFECT_API_AUTH_STRING": PREFECT_API_AUTH_STRING}
        if self.settings.prefect_credential == "none":
            return None
        value = setting[self.settings.prefect_credential].value()
        return str(value) if value else None

    def prefect(self) -> SyncPrefectClient:
        """Return a client of Prefect's API, which is a context manager."""
        return get_client(sync_client=True)

    def emulator(self) -> dict[str, str]:
        """Return the variables of the emulator of AWS; nothing if AWS itself is used."""
        if not self.variables.get("AWS_ENDPOINT_URL"):
            return {}
        return {name: self.variables[name] for name in OF_THE_EMULATOR if name in self.variables}


@contextmanager
def translate_cloud_errors() -> Iterator[None]:
    """Translate errors of AWS and Prefect into ConfigurationError or Unreachable."""
    try:
        yield
    except (NoCredentialsError, NoRegionError) as error:
        raise ConfigurationError(str(error), place="AWS", remedy="set AWS_PROFILE, or the setting region") from None
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise ConfigurationError(
            redact(error), place=f"AWS, {error.operation_name}", remedy=f"see what {code} asks for, then run it again"
        ) from None
    except BotoCoreError as error:
        raise Unreachable(redact(error), place="AWS", remedy="see that it can be reached, then run it again") from None
    except httpx.HTTPStatusError as error:
        raise ConfigurationError(
            f"it answered {error.response.status_code} to {error.request.method} {error.request.url.path}: "
            f"{redact(error.response.text[:LENGTH_TOLD])}",
            place="Prefect's API",
            remedy="see that PREFECT_API_URL, and PREFECT_API_KEY or PREFECT_API_AUTH_STRING, are right",
        ) from None
    except (httpx.TransportError, RuntimeError) as error:
        raise translate_error(error) from None
