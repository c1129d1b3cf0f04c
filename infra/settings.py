"""Settings of an environment, from a file in environments/, and the parameters of its stack."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from infra import work_pool
from millrace.base.errors import ConfigurationError
from millrace.blocks.names import variables_of
from millrace.declaration.find import find_pipeline, pipeline_names

SERVERLESS_ZONES = 3
"""How many zones the subnets of Redshift Serverless must be in, with enhanced VPC routing."""
ENVIRONMENTS = Path(__file__).with_name("environments")
BUCKET_NAME = r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$"
LOGIN_ARN = (
    r"^arn:aws[\w-]*:(redshift-serverless:[\w-]+:\d{12}:workgroup/|redshift:[\w-]+:\d{12}:db(name|user):"
    r"|iam::\d{12}:role/)\S+$"
)
"""A workgroup, a database or user of a cluster, or a role of another account, which mints credentials of Redshift."""


class Network(BaseModel):
    """An existing network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vpc_id: str
    subnet_ids: tuple[str, ...] = Field(min_length=1)
    assign_public_ip: bool = False


class Settings(BaseModel):
    """Settings of one environment. Everything has a default except the name, which is that of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9]{1,11}$")
    account: str | None = Field(default=None, description="The only account that it may be made in.")
    region: str | None = Field(default=None, description="By default that of the AWS profile.")
    network: Network | None = Field(default=None, description="By default one is made.")
    pipelines: tuple[str, ...] = Field(default_factory=lambda: tuple(pipeline_names()), description="Those to deploy.")
    secrets: tuple[str, ...] = Field(
        default=(),
        description="Further variables of flows that are kept in Secrets Manager, beside the pipelines' own.",
    )
    variables: dict[str, str] = Field(
        default_factory=dict, description="Further variables of flows, in plain: queues, settings of Prefect."
    )
    image: str | None = Field(default=None, description="A fixed image; by default that of the commit is built.")
    worker: bool = Field(default=True, description="Whether the stack runs Prefect's worker.")
    prefect_api_url: str | None = Field(
        default=None, description="Prefect's API as seen from AWS; by default as seen from here."
    )
    prefect_credential: Literal["PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "none"] = Field(
        default="PREFECT_API_KEY", description="What Prefect's API asks for; Prefect Cloud asks for a key."
    )
    schedules: Literal["active", "paused"] = Field(default="active", description="Of deployments when they are made.")
    sample_data: bool = Field(default=False, description="Whether flows may write sample data into the sources.")
    warehouse: Literal["given", "serverless"] = "given"
    warehouse_base_capacity: int = Field(default=8, ge=4, le=1024, description="RPUs of Redshift Serverless.")
    warehouse_login_arns: tuple[Annotated[str, Field(pattern=LOGIN_ARN)], ...] = Field(
        default=(), description="What flows may log in to without a password, for a WAREHOUSE_URL of redshift+iam://."
    )
    landing_bucket: str = Field(
        default="",
        pattern=BUCKET_NAME,
        description="The bucket of the landing zone that is there; by default one is made.",
    )
    processed_bucket: str = Field(default="", pattern=BUCKET_NAME, description="The same for the processed zone.")
    permissions_boundary: str = Field(default="", description="ARN of the policy that every role must carry.")
    queue_arns: tuple[str, ...] = Field(default=(), description="Queues that are there, for sources of messages.")
    repository_arns: tuple[str, ...] = Field(default=(), description="Repositories of images that are there.")
    secret_arns: dict[str, str] = Field(
        default_factory=dict, description="Secrets that are there, by variable; their values are URLs."
    )
    kms_key_arns: tuple[str, ...] = Field(default=(), description="Keys of KMS of lake, queues and secrets.")
    log_retention_days: int = 30
    alert_email: str = ""

    @model_validator(mode="after")
    def _check_zones(self) -> Self:
        """Raise ValueError if Redshift Serverless would have too few subnets; which zones they are in, AWS tells."""
        if self.warehouse == "serverless" and self.network and len(self.network.subnet_ids) < SERVERLESS_ZONES:
            raise ValueError(f"Redshift Serverless needs {SERVERLESS_ZONES} subnets in as many zones")
        return self

    @property
    def stack_name(self) -> str:
        """Name of the stack in CloudFormation."""
        return f"millrace-{self.name}"

    def secret_variables(self) -> list[str]:
        """Variables whose values are secrets of the stack, sorted."""
        found = {name for pipeline in self.pipelines for name in variables_of(find_pipeline(pipeline))}
        return sorted((found | set(self.secrets)) - self.secret_arns.keys())

    def parameters(self, *, worker_image: str, prefect_api_url: str, keeps_namespace: bool = False) -> dict[str, str]:
        """Return the parameters of the stack. ``worker_image`` is '' until an image is pushed.

        ``keeps_namespace`` says that an earlier stack left the namespace of the warehouse.
        """
        given = self.network
        return {
            "EnvironmentName": self.name,
            "VpcId": given.vpc_id if given else "",
            "SubnetIds": ",".join(given.subnet_ids) if given else "",
            "AssignPublicIp": "ENABLED" if given and given.assign_public_ip else "DISABLED",
            "SecretVariables": ",".join(self.secret_variables()),
            "PrefectApiUrl": prefect_api_url if self.worker else "",
            "PrefectSecret": self.prefect_credential,
            "WorkPoolName": work_pool.NAME,
            "WorkerImage": worker_image if self.worker else "",
            "WarehouseNamespaceIs": "kept" if keeps_namespace else "made",
            "PermissionsBoundary": self.permissions_boundary,
            "LandingBucketName": self.landing_bucket,
            "ProcessedBucketName": self.processed_bucket,
            "WarehouseLoginArns": ",".join(self.warehouse_login_arns),
            "QueueArns": ",".join(self.queue_arns),
            "RepositoryArns": ",".join(self.repository_arns),
            "SecretArns": ",".join(sorted(set(self.secret_arns.values()))),
            "KmsKeyArns": ",".join(self.kms_key_arns),
            "LogRetentionDays": str(self.log_retention_days),
            "AlertEmail": self.alert_email,
            "SampleData": "allowed" if self.sample_data else "refused",
            "Warehouse": self.warehouse,
            "WarehouseBaseCapacity": str(self.warehouse_base_capacity),
        }


def runnable(pipelines: Iterable[str], known: Collection[str]) -> list[str]:
    """Return the pipelines with all required variables among the given ones."""
    return [name for name in pipelines if variables_of(find_pipeline(name)) <= set(known)]


def read_settings(environment: str) -> Settings:
    """Read the settings of ``prod`` from environments/prod.toml, or from the file if a path is given.

    Raises ConfigurationError if the file does not exist or is not valid.
    """
    path = Path(environment) if environment.endswith(".toml") else ENVIRONMENTS / f"{environment}.toml"
    try:
        settings = Settings(**{"name": path.stem} | tomllib.loads(path.read_text()))
        settings.secret_variables()
    except FileNotFoundError:
        known = ", ".join(sorted(one.stem for one in ENVIRONMENTS.glob("*.toml")))
        raise ConfigurationError(
            "there is no such file", place=str(path), remedy=f"write it, or choose from {known}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"this is not TOML: {error}", place=str(path), remedy="fix it") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigurationError(wrong, place=str(path), remedy="see infra/settings.py") from None
    return settings
