"""The base job template, filled: what prefect-aws's own worker makes of it, and what the emulator keeps of that."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import boto3
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_KEY, temporary_settings
from prefect.utilities.schema_tools import validate
from prefect_aws.workers.ecs_worker import ECSJobConfiguration, ECSWorker

from infra import work_pool
from local.stack import Stack
from millrace.base.errors import ConfigurationError
from tests.infra.stack_outputs import OUTPUTS, SECRETS, secret_arn

IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/millrace:3f1c9ab"
NOWHERE = "http://127.0.0.1:9/api"
VALUE = "postgresql://reader:hunter2hunter2@db.example.com/bank"


def template(secrets: Mapping[str, str] = SECRETS, **environment: str) -> dict[str, Any]:
    return work_pool.fill_template(OUTPUTS, secrets, environment)


async def configuration(base: dict[str, Any], **job_variables: Any) -> ECSJobConfiguration:
    """As the worker makes it for a run of a deployment with these job variables."""
    values = {"image": IMAGE, **job_variables}
    # The client is asked for blocks and variables only, of which there are none; without it, a server would be started.
    client = PrefectClient(NOWHERE)
    configured: ECSJobConfiguration = await ECSJobConfiguration.from_template_and_values(base, values, client=client)
    configured.prepare_for_flow_run(a_run())
    return configured


def a_run() -> FlowRun:
    return FlowRun(id=uuid4(), flow_id=uuid4(), deployment_id=uuid4(), name="careful-otter")


def definition(configured: ECSJobConfiguration) -> dict[str, Any]:
    """What the worker registers."""
    return ECSWorker(work_pool.NAME)._prepare_task_definition(configured, region="eu-west-1", flow_run=a_run())


def task_request(configured: ECSJobConfiguration) -> dict[str, Any]:
    """What the worker asks ECS to run, but for the network, which it looks up in AWS."""
    offline = configured.model_copy(update={"network_configuration": {}, "vpc_id": None})
    return ECSWorker(work_pool.NAME)._prepare_task_run_request(offline, {}, "arn:definition", False)


async def test_the_task_definition() -> None:
    registered = definition(await configuration(template()))
    [container] = registered.pop("containerDefinitions")
    assert registered == {
        "family": "millrace-prod-flow",
        "cpu": "512",
        "memory": "1024",
        "taskRoleArn": OUTPUTS["TaskRoleArn"],
        "executionRoleArn": OUTPUTS["ExecutionRoleArn"],
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "enableFaultInjection": False,
    }
    assert container.pop("environment") == [
        {"name": "ALERT_TOPIC_ARN", "value": OUTPUTS["AlertTopicArn"]},
        {"name": "LANDING_BUCKET", "value": "millrace-prod-landing"},
        {"name": "PROCESSED_BUCKET", "value": "millrace-prod-processed"},
        {"name": "SOURCE_SQS_EVENTS_DEAD_LETTER_URL", "value": OUTPUTS["EventsDeadLetterQueueUrl"]},
        {"name": "SOURCE_SQS_EVENTS_URL", "value": OUTPUTS["EventsQueueUrl"]},
        {"name": "WAREHOUSE_IAM_ROLE", "value": OUTPUTS["WarehouseRoleArn"]},
    ]
    assert container == {
        "name": "prefect",
        "image": IMAGE,
        "memory": 1024,
        "stopTimeout": 120,
        "secrets": [{"name": name, "valueFrom": arn} for name, arn in sorted(SECRETS.items())],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": "/millrace/prod/flows",
                "awslogs-create-group": "false",
                "awslogs-region": "eu-west-1",
                "awslogs-stream-prefix": "flow-run",
                "mode": "non-blocking",
                "max-buffer-size": "25m",
            },
        },
    }


async def test_the_request_of_a_run() -> None:
    request = task_request(await configuration(template(), cpu=2048, memory=8192, ephemeral_storage_gib=50))
    overrides = request["overrides"]
    [container] = overrides["containerOverrides"]
    assert (request["cluster"], request["launchType"]) == (OUTPUTS["ClusterArn"], "FARGATE")
    assert overrides["taskRoleArn"] == OUTPUTS["TaskRoleArn"]
    assert (overrides["cpu"], overrides["memory"]) == ("2048", "8192")
    assert overrides["ephemeralStorage"] == {"sizeInGiB": 50}
    assert (container["name"], container["cpu"], container["memory"]) == ("prefect", 2048, 8192)
    assert container["command"] == ["prefect", "flow-run", "execute"]


async def test_sizes_and_disk_unless_a_deployment_says_otherwise() -> None:
    overrides = task_request(await configuration(template()))["overrides"]
    assert (overrides["cpu"], overrides["memory"]) == ("512", "1024")
    assert overrides["ephemeralStorage"] == {"sizeInGiB": 21}


async def test_every_size_and_deployment_of_an_image_shares_one_revision(
    stack: Stack, aws_environment: dict[str, str]
) -> None:
    """What AWS gives back equals what the worker compares it with, whichever deployment's turn it is."""
    ecs, worker, logger = boto3.client("ecs"), ECSWorker(work_pool.NAME), logging.getLogger(__name__)
    base = template()
    base["variables"]["properties"]["family"]["default"] = f"shared-{uuid4().hex[:8]}"
    arn = worker._register_task_definition(logger, ecs, definition(await configuration(base)))
    stored = as_aws_tells(ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"])
    for size in ({}, {"cpu": 1024, "memory": 4096, "ephemeral_storage_gib": 50}):
        assert worker._task_definitions_equal(definition(await configuration(base, **size)), stored, logger)
    other_image = definition(await configuration(base, image=f"{IMAGE}0"))
    assert not worker._task_definitions_equal(other_image, stored, logger)


def as_aws_tells(stored: dict[str, Any]) -> dict[str, Any]:
    """What AWS adds to every definition, and the emulator does not."""
    [container] = stored["containerDefinitions"]
    empty: dict[str, Any] = {key: [] for key in ("portMappings", "mountPoints", "volumesFrom", "systemControls")}
    return stored | {"enableFaultInjection": False, "containerDefinitions": [{"cpu": 0, **empty, **container}]}


async def test_the_network_is_the_stack_s(stack: Stack, aws_environment: dict[str, str]) -> None:
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.7.{number}.0/24")["Subnet"]["SubnetId"] for number in range(2)
    ]
    outputs = OUTPUTS | {"VpcId": vpc, "Subnets": ",".join(subnets)}
    configured = await configuration(work_pool.fill_template(outputs, SECRETS))
    request = ECSWorker(work_pool.NAME)._prepare_task_run_request(
        configured, definition(configured), "arn:definition", False
    )
    assert request["networkConfiguration"] == {
        "awsvpcConfiguration": {"subnets": subnets, "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}
    }


async def test_the_key_of_prefect_leaves_the_worker_s_environment_only_by_reference() -> None:
    key = secret_arn("PREFECT_API_KEY")
    with temporary_settings({PREFECT_API_KEY: "pnu_leaked"}):
        configured = await configuration(template(SECRETS | {"PREFECT_API_KEY": key}))
    both = json.dumps([definition(configured), task_request(configured)])
    assert "pnu_leaked" not in both
    assert {"name": "PREFECT_API_KEY", "valueFrom": key} in definition(configured)["containerDefinitions"][0]["secrets"]


NOT_NEEDED = {
    "RepositoryUri", "TaskEventsQueueName", "SecretsPrefix", "EventsQueueUrl", "EventsDeadLetterQueueUrl",
}  # fmt: skip
"""Outputs without which the template can be filled."""


@pytest.mark.parametrize("missing", sorted(set(OUTPUTS) - NOT_NEEDED))
def test_a_missing_output_is_named(missing: str) -> None:
    for outputs in ({name: OUTPUTS[name] for name in OUTPUTS.keys() - {missing}}, OUTPUTS | {missing: ""}):
        with pytest.raises(ConfigurationError, match=rf"no output {missing}\."):
            work_pool.fill_template(outputs, SECRETS)


@pytest.mark.parametrize(
    "name",
    ["SOURCE_POSTGRES_URL", "SOURCE_MYSQL_STOCKS_URL", "WAREHOUSE_STOCKS_URL", "AWS_SECRET_ACCESS_KEY"],
)
def test_a_secret_in_plain_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}: its value must not stand") as refused:
        template({}, **{name: VALUE})
    assert "hunter2" not in str(refused.value)


def test_a_value_in_place_of_a_secret_s_arn_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="WAREHOUSE_URL: this is not the ARN of a secret") as refused:
        template({"WAREHOUSE_URL": VALUE})
    assert "hunter2" not in str(refused.value)


def test_a_variable_is_given_once() -> None:
    """ECS refuses a name that is in the environment and among the secrets."""
    with pytest.raises(ConfigurationError, match="SOURCE_SQS_EVENTS_URL: it is given twice"):
        template({"SOURCE_SQS_EVENTS_URL": secret_arn("SOURCE_SQS_EVENTS_URL")})


def test_what_is_given_in_plain_is_there_and_wins() -> None:
    filled = template(AWS_ENDPOINT_URL="http://127.0.0.1:4566", LANDING_BUCKET="mine")
    [container] = filled["job_configuration"]["task_definition"]["containerDefinitions"]
    plain = {one["name"]: one["value"] for one in container["environment"]}
    assert (plain["AWS_ENDPOINT_URL"], plain["LANDING_BUCKET"]) == ("http://127.0.0.1:4566", "mine")


@pytest.mark.parametrize("image", [{}, {"image": ""}])
def test_a_run_without_image_is_refused(image: dict[str, str]) -> None:
    """As Prefect's server does when a run is made; the worker would take an image without our code."""
    assert validate(image, template()["variables"], raise_on_error=False)
    assert not validate({"image": IMAGE}, template()["variables"], raise_on_error=False)


def test_nothing_is_left_unfilled() -> None:
    assert "${" not in json.dumps(template())


def test_the_template_knows_what_the_installed_worker_knows() -> None:
    """After an update of prefect-aws: look at what is new, and take it over."""
    ours, theirs = template(), ECSWorker.get_default_base_job_template()
    assert ours["job_configuration"].keys() == theirs["job_configuration"].keys()
    own = ours["variables"]["properties"].keys() - theirs["variables"]["properties"].keys()
    assert own == {"ephemeral_storage_gib"}
    assert theirs["variables"]["properties"].keys() <= ours["variables"]["properties"].keys()
    assert ours["variables"]["definitions"] == theirs["variables"]["definitions"]
