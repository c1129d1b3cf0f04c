"""infra/stack.yaml as a stack that CloudFormation made, on the emulator: what is there, and what is left.

It knows no Redshift Serverless, which is therefore not asked for here, and passes over the lifecycle of buckets.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.stack import Stack
from tests.infra.test_template import OUTPUTS, PATH

CAPABILITIES = ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/millrace:0123abc"
SECRETS = ["SOURCE_POSTGRES_TOTESYS_URL", "WAREHOUSE_STOCKS_URL"]


@dataclass(frozen=True)
class Made:
    """An environment, made by CloudFormation."""

    servers: Stack
    name: str
    parameters: dict[str, str]

    def client(self, service: str) -> Any:
        """A client of the emulator."""
        return self.servers.aws.client(service)

    def request(self, **changed: str) -> dict[str, Any]:
        """What creates or updates it."""
        values = {"EnvironmentName": self.name, **self.parameters, **changed}
        return {
            "StackName": self.name,
            "TemplateBody": PATH.read_text(),
            "Capabilities": CAPABILITIES,
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
        }

    def create(self) -> None:
        """Make it and wait for it."""
        client = self.client("cloudformation")
        client.create_stack(**self.request())
        client.get_waiter("stack_create_complete").wait(StackName=self.name, WaiterConfig={"Delay": 1})

    def update(self, **changed: str) -> None:
        """Change it and wait for it."""
        client = self.client("cloudformation")
        client.update_stack(**self.request(**changed))
        client.get_waiter("stack_update_complete").wait(StackName=self.name, WaiterConfig={"Delay": 1})

    def delete(self) -> None:
        """Delete the stack, not what it leaves."""
        client = self.client("cloudformation")
        client.delete_stack(StackName=self.name)
        client.get_waiter("stack_delete_complete").wait(StackName=self.name, WaiterConfig={"Delay": 1})

    def outputs(self) -> dict[str, str]:
        """Values by name."""
        (found,) = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return {one["OutputKey"]: one["OutputValue"] for one in found["Outputs"]}

    def buckets(self) -> set[str]:
        """Names of the environment's buckets that are there."""
        found = self.client("s3").list_buckets()["Buckets"]
        return {one["Name"] for one in found if one["Name"].startswith(f"millrace-{self.name}-")}

    def queues(self) -> set[str]:
        """URLs of the environment's queues that are there."""
        return set(self.client("sqs").list_queues(QueueNamePrefix=f"millrace-{self.name}-").get("QueueUrls", []))

    def clear(self) -> None:
        """Delete what the stack leaves."""
        for bucket in self.buckets():
            self.client("s3").delete_bucket(Bucket=bucket)
        for queue in self.queues():
            self.client("sqs").delete_queue(QueueUrl=queue)


def environment_name() -> str:
    """One that nobody else has."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def whole(stack: Stack) -> Iterator[Made]:
    """With its own network, a worker, e-mail and sample data."""
    made = Made(
        stack,
        environment_name(),
        {
            "WorkerImage": IMAGE,
            "PrefectApiUrl": "https://prefect.example.com/api",
            "AlertEmail": "oncall@example.com",
            "SampleData": "allowed",
            "SecretVariables": ",".join(SECRETS),
        },
    )
    made.create()
    yield made
    made.delete()
    made.clear()


@pytest.fixture
def small(stack: Stack) -> Iterator[Made]:
    """In a network that is there, without a worker, for a Prefect server without a key."""
    network = stack.aws.client("ec2")
    vpc = network.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        network.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{number}.0/24")["Subnet"]["SubnetId"] for number in (1, 2)
    ]
    parameters = {"VpcId": vpc, "SubnetIds": ",".join(subnets), "PrefectSecret": "none"}
    made = Made(stack, environment_name(), parameters)
    made.create()
    yield made
    made.clear()


def test_every_output_has_its_value_and_is_the_environments_own(whole: Made) -> None:
    found = whole.outputs()
    assert found.keys() == OUTPUTS
    assert "" not in found.values()
    network = {"VpcId", "Subnets", "SecurityGroups", "AssignPublicIp"}
    assert [name for name in OUTPUTS - network if whole.name not in found[name]] == []


def test_what_did_not_change_is_not_updated(whole: Made) -> None:
    with pytest.raises(ClientError, match="No updates are to be performed"):
        whole.update()


def test_tasks_of_a_network_of_its_own_reach_the_internet_and_the_lake(whole: Made) -> None:
    network, found = whole.client("ec2"), whole.outputs()
    subnets = found["Subnets"].split(",")
    zones = {one["AvailabilityZone"] for one in network.describe_subnets(SubnetIds=subnets)["Subnets"]}
    assert len(subnets) == len(zones) == 2
    own = [{"Name": "vpc-id", "Values": [found["VpcId"]]}]
    tables = [one for one in network.describe_route_tables(Filters=own)["RouteTables"] if len(one["Associations"]) == 2]
    assert {one["SubnetId"] for one in tables[0]["Associations"]} == set(subnets)
    assert any(one["GatewayId"].startswith("igw-") for one in tables[0]["Routes"] if "GatewayId" in one)
    # The emulator gives all endpoints, also those of other tests.
    endpoints = network.describe_vpc_endpoints(Filters=own)["VpcEndpoints"]
    (endpoint,) = [one for one in endpoints if one["VpcId"] == found["VpcId"]]
    assert endpoint["ServiceName"].endswith(".s3")
    assert found["AssignPublicIp"] == "ENABLED"


def test_nobody_reaches_a_task(whole: Made) -> None:
    (group,) = whole.client("ec2").describe_security_groups(GroupIds=[whole.outputs()["SecurityGroups"]])[
        "SecurityGroups"
    ]
    assert group["IpPermissions"] == []


def test_buckets_are_what_the_template_says(whole: Made) -> None:
    storage, found = whole.client("s3"), whole.outputs()
    assert whole.buckets() == {found[name] for name in ("LandingBucket", "ProcessedBucket")}
    for bucket in whole.buckets():
        blocked = storage.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert set(blocked.values()) == {True}
        policy = json.loads(storage.get_bucket_policy(Bucket=bucket)["Policy"])
        assert policy["Statement"][0]["Resource"] == [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        assert storage.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    assert storage.get_bucket_versioning(Bucket=found["LandingBucket"])["Status"] == "Enabled"


def test_the_queue_is_like_the_one_of_the_local_stack(whole: Made) -> None:
    names = ["VisibilityTimeout", "MessageRetentionPeriod", "RedrivePolicy"]
    queues, found = whole.client("sqs"), whole.outputs()

    def attributes(url: str, dead_letter: str) -> dict[str, Any]:
        told = queues.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        redrive = json.loads(told.pop("RedrivePolicy"))
        assert redrive["deadLetterTargetArn"].rpartition(":")[2] == dead_letter.rpartition("/")[2]
        return told | {"receives": int(redrive["maxReceiveCount"])}

    ours = attributes(found["EventsQueueUrl"], found["EventsDeadLetterQueueUrl"])
    local = attributes(whole.servers.queue_url, whole.servers.dead_letter_queue_url)
    assert ours == local


def test_a_secret_is_there_for_each_variable_and_has_no_value(whole: Made) -> None:
    found = whole.client("secretsmanager").list_secrets()["SecretList"]
    prefix = f"{whole.outputs()['SecretsPrefix']}/"
    own = {one["Name"].removeprefix(prefix): one["ARN"] for one in found if one["Name"].startswith(prefix)}
    assert own.keys() == {*SECRETS, "PREFECT_API_KEY"}


def test_the_worker_serves_its_pool_with_one_secret(whole: Made) -> None:
    containers, found = whole.client("ecs"), whole.outputs()
    (service,) = containers.describe_services(cluster=found["ClusterArn"], services=[f"millrace-{whole.name}-worker"])[
        "services"
    ]
    assert (service["desiredCount"], service["launchType"]) == (1, "FARGATE")
    definition = containers.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    (container,) = definition["containerDefinitions"]
    assert container["image"] == IMAGE
    assert " ".join(container["command"]).startswith("prefect worker start --type ecs --pool millrace-ecs")
    plain = {one["name"]: one["value"] for one in container["environment"]}
    assert plain["PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME"] == found["TaskEventsQueueName"]
    assert plain["PREFECT_WORKER_ENABLE_CANCELLATION"] == "true"
    # The emulator keeps CloudFormation's capitals in it, which boto3 does not show; test_template.py knows which it is.
    assert len(container["secrets"]) == 1


def test_the_worker_hears_of_the_tasks_of_its_cluster(whole: Made) -> None:
    events, found = whole.client("events"), whole.outputs()
    rule = events.describe_rule(Name=f"millrace-{whole.name}-task-events")
    assert json.loads(rule["EventPattern"]) == {
        "source": ["aws.ecs"],
        "detail-type": ["ECS Task State Change"],
        "detail": {"clusterArn": [found["ClusterArn"]]},
    }
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    queues = whole.client("sqs")
    url = queues.get_queue_url(QueueName=found["TaskEventsQueueName"])["QueueUrl"]
    told = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn", "Policy"])["Attributes"]
    assert target["Arn"] == told["QueueArn"]
    let_in = [one for one in json.loads(told["Policy"])["Statement"] if one["Effect"] == "Allow"]
    assert [one["Condition"] for one in let_in] == [{"ArnEquals": {"aws:SourceArn": rule["Arn"]}}]


def test_alerts_go_to_the_address_that_was_given(whole: Made) -> None:
    found = whole.client("sns").list_subscriptions_by_topic(TopicArn=whole.outputs()["AlertTopicArn"])["Subscriptions"]
    assert [(one["Protocol"], one["Endpoint"]) for one in found] == [("email", "oncall@example.com")]


@pytest.mark.parametrize(
    ("given", "missing"), [({"VpcId": "vpc-0123456789abcdef0"}, "SubnetIds"), ({"WorkerImage": IMAGE}, "PrefectApiUrl")]
)
def test_what_cannot_work_is_refused_at_once(stack: Stack, given: dict[str, str], missing: str) -> None:
    made = Made(stack, environment_name(), given)
    with pytest.raises(ClientError, match=f"give {missing}, too"):
        made.create()


def _may_send(made: Made) -> bool:
    policy = made.client("iam").get_role_policy(RoleName=f"millrace-{made.name}-task", PolicyName="flows")
    return "SendSampleEvents" in json.dumps(policy["PolicyDocument"])


def test_an_environment_in_a_given_network_that_grows_a_worker_and_leaves_its_data(small: Made, whole: Made) -> None:
    found = small.outputs()
    assert (found["VpcId"], found["Subnets"]) == (small.parameters["VpcId"], small.parameters["SubnetIds"])
    assert found["AssignPublicIp"] == "DISABLED"
    assert (_may_send(small), _may_send(whole)) == (False, True)
    services = small.client("ecs")
    assert services.list_services(cluster=found["ClusterArn"])["serviceArns"] == []

    small.update(WorkerImage=IMAGE, PrefectApiUrl="http://prefect.internal:4200/api")

    (worker,) = services.list_services(cluster=found["ClusterArn"])["serviceArns"]
    (service,) = services.describe_services(cluster=found["ClusterArn"], services=[worker])["services"]
    network = service["networkConfiguration"]["awsvpcConfiguration"]
    assert ",".join(network["subnets"]) == found["Subnets"]
    definition = services.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    assert not definition["containerDefinitions"][0].get("secrets")

    small.delete()

    assert small.buckets() == {found[name] for name in ("LandingBucket", "ProcessedBucket")}
    assert small.queues() == {found["EventsQueueUrl"], found["EventsDeadLetterQueueUrl"]}
    left = small.client("secretsmanager").list_secrets()["SecretList"]
    assert [one["Name"] for one in left if one["Name"].startswith(found["SecretsPrefix"])] == []
