"""What must hold for infra/stack.yaml as it is written: nothing open, nothing in plain, no right too many."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from infra.teardown import BUCKETS
from infra.work_pool import TEMPLATE as BASE_JOB_TEMPLATE
from infra.work_pool import is_secret
from millrace.base.errors import ConfigurationError
from millrace.base.naming import check_name
from millrace.lake.batch import SCANS
from millrace.warehouse.contents import UNLOADED
from tests.infra.stack_template import PATH, TEMPLATE

OUTPUTS = {
    "ClusterArn", "TaskFamily", "TaskRoleArn", "ExecutionRoleArn", "Subnets", "SecurityGroups", "VpcId",
    "AssignPublicIp", "LogGroup", "RepositoryUri", "LandingBucket", "ProcessedBucket",
    "EventsQueueUrl", "EventsDeadLetterQueueUrl", "TaskEventsQueueName", "AlertTopicArn", "SecretsPrefix",
    "WarehouseRoleArn",
}  # fmt: skip
ON_EVERYTHING = {
    "LogInToRegistry": ["ecr:GetAuthorizationToken"],
    "DefineFlows": ["ecs:RegisterTaskDefinition", "ecs:DeregisterTaskDefinition", "ecs:DescribeTaskDefinition"],
    "SeeNetwork": ["ec2:DescribeVpcs", "ec2:DescribeSubnets"],
}
"""Actions for which AWS knows no resource, by the statement that allows them."""

LOOP = "Fn::ForEach::Secrets"
RESOURCES: dict[str, Any] = {name: one for name, one in TEMPLATE["Resources"].items() if name != LOOP}
RESOURCES["SecretOfVariable"] = next(iter(TEMPLATE["Resources"][LOOP][2].values()))


def of_type(kind: str) -> list[str]:
    """Names of the resources of that type."""
    found = [name for name, one in RESOURCES.items() if one["Type"] == kind]
    assert found, f"no {kind}: has it another name?"
    return found


def properties(name: str) -> dict[str, Any]:
    """What is said of the resource."""
    return RESOURCES[name].get("Properties", {})


def listed(value: Any) -> list[Any]:
    """IAM takes one or many."""
    return value if isinstance(value, list) else [value]


def documents(name: str) -> Iterator[dict[str, Any]]:
    """Policy documents of a resource."""
    said = properties(name)
    yield from (one["PolicyDocument"] for one in said.get("Policies", []) if isinstance(one, dict))
    yield from (said[key] for key in ("PolicyDocument", "AssumeRolePolicyDocument") if key in said)


def statements(name: str, effect: str = "Allow") -> list[dict[str, Any]]:
    """Statements of a resource's policies, those under a condition too."""
    found = [one for document in documents(name) for one in document["Statement"]]
    flat = [
        branch for one in found for branch in (one["Fn::If"][1:] if "Fn::If" in one else [one]) if "Ref" not in branch
    ]
    return [one for one in flat if one["Effect"] == effect]


def rights(name: str) -> dict[str, list[Any]]:
    """Resources by action of what a role may do."""
    own = [one for one in statements(name) if "Principal" not in one]
    return {action: listed(one["Resource"]) for one in own for action in listed(one["Action"])}


def refuses_plain_text(policy: str) -> list[str]:
    """What the policy lets nobody reach without TLS, as its resources say it."""
    denied = [
        one for one in statements(policy, "Deny") if one["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    ]
    assert [one["Principal"] for one in denied] == ["*"]
    return [str(resource) for one in denied for resource in listed(one["Resource"])]


@pytest.mark.parametrize("name", of_type("AWS::S3::Bucket"))
def test_a_bucket_is_private_and_encrypted_and_answers_by_tls_only(name: str) -> None:
    said = properties(name)
    assert said["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )
    (rule,) = said["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert said["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (policy,) = (one for one in of_type("AWS::S3::BucketPolicy") if properties(one)["Bucket"] == {"Ref": name})
    whole = [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]
    assert refuses_plain_text(policy) == [str(one) for one in whole]


@pytest.mark.parametrize("name", of_type("AWS::S3::Bucket"))
def test_an_upload_that_was_broken_off_is_cleared_away(name: str) -> None:
    rules = properties(name)["LifecycleConfiguration"]["Rules"]
    assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)


@pytest.mark.parametrize("name", ["LandingBucket", "ProcessedBucket"])
def test_the_lake_is_kept_but_for_the_scans_of_sweeps(name: str) -> None:
    said = properties(name)
    assert said["VersioningConfiguration"] == {"Status": "Enabled"}
    expiring = [rule for rule in said["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in rule]
    assert [rule["Prefix"] for rule in expiring] == [f"{SCANS}/"]
    with pytest.raises(ConfigurationError, match=SCANS):
        check_name(SCANS, "pipeline")


@pytest.mark.parametrize(
    "name", [*of_type("AWS::S3::Bucket"), "EventsQueue", "EventsDeadLetterQueue", "WarehouseNamespace"]
)
def test_data_outlives_its_stack(name: str) -> None:
    assert RESOURCES[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("name", of_type("AWS::SQS::Queue"))
def test_a_queue_is_encrypted_and_answers_by_tls_only(name: str) -> None:
    assert properties(name)["SqsManagedSseEnabled"] is True
    (policy,) = (one for one in of_type("AWS::SQS::QueuePolicy") if properties(one)["Queues"] == [{"Ref": name}])
    assert refuses_plain_text(policy) == [str({"Fn::GetAtt": [name, "Arn"]})]


def test_the_topic_is_encrypted_and_answers_by_tls_only() -> None:
    assert properties("AlertTopic")["KmsMasterKeyId"] == "alias/aws/sns"
    assert refuses_plain_text("AlertTopicPolicy") == [str({"Ref": "AlertTopic"})]


@pytest.mark.parametrize("name", [name for name in RESOURCES if statements(name)])
def test_every_action_is_named_and_every_resource_unless_aws_knows_none(name: str) -> None:
    for statement in statements(name):
        assert not {"NotAction", "NotResource", "NotPrincipal"} & statement.keys()
        assert not [action for action in listed(statement["Action"]) if "*" in action]
        assert statement.get("Principal", {}) != "*"
        if "*" in listed(statement.get("Resource", [])):
            assert listed(statement["Action"]) == ON_EVERYTHING[statement["Sid"]]


def test_roles_have_no_policies_that_others_write() -> None:
    assert not [name for name in of_type("AWS::IAM::Role") if "ManagedPolicyArns" in properties(name)]


def test_only_ecs_itself_reads_secrets_and_only_those_of_the_environment() -> None:
    readers = {name for name in of_type("AWS::IAM::Role") if any("secretsmanager:" in one for one in rights(name))}
    assert readers == {"ExecutionRole"}
    read = [one for one in statements("ExecutionRole") if one["Action"] == "secretsmanager:GetSecretValue"]
    own, further = [one["Resource"] for one in read]
    assert own["Fn::Sub"].endswith(":secret:millrace/${EnvironmentName}/*")
    assert further == {"Fn::Split": [",", {"Ref": "SecretArns"}]}


def test_flows_delete_nothing_but_messages_and_use_the_lake_the_queue_and_the_topic() -> None:
    assert set(rights("TaskRole")) == {
        "s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload",
        "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:SendMessage", "sns:Publish",
        "sqs:GetQueueAttributes", "sns:GetTopicAttributes", "kms:Decrypt", "kms:GenerateDataKey",
        "redshift-serverless:GetCredentials", "redshift:GetClusterCredentialsWithIAM", "redshift:GetClusterCredentials",
        "sts:AssumeRole",
    }  # fmt: skip


def test_flows_log_in_by_iam_only_where_a_setting_says_so() -> None:
    (found,) = (one for one in statements("TaskRole") if one.get("Sid") == "LogInToWarehouse")
    assert listed(found["Resource"]) == [{"Fn::Split": [",", {"Ref": "WarehouseLoginArns"}]}]


def test_the_warehouse_only_reads_the_lake_and_unloads_into_it() -> None:
    assert set(rights("WarehouseRole")) == {
        "s3:ListBucket", "s3:GetObject", "s3:PutObject", "kms:Decrypt", "kms:GenerateDataKey",
    }  # fmt: skip
    assert "Results" not in str(rights("WarehouseRole"))
    assert rights("WarehouseRole")["s3:PutObject"] == in_the_lake(f"/*/{UNLOADED}*")


def in_the_lake(path: str) -> list[Any]:
    """These objects of both buckets, made or given; '' stands for the buckets themselves."""
    return [
        {"Fn::Sub": [f"arn:${{AWS::Partition}}:s3:::${{Bucket}}{path}", {"Bucket": made_or_given(bucket)}]}
        for bucket in BUCKETS
    ]


def made_or_given(bucket: str) -> dict[str, Any]:
    return {"Fn::If": [f"Creates{bucket}", {"Ref": bucket}, {"Ref": f"{bucket}Name"}]}


@pytest.mark.parametrize("role", ["TaskRole", "WarehouseRole"])
def test_rights_are_for_the_buckets_that_were_given_or_made(role: str) -> None:
    assert rights(role)["s3:ListBucket"] == in_the_lake("")
    assert rights(role)["s3:GetObject"] == in_the_lake("/*")


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_that_is_given_is_not_made_and_its_policy_is_left_alone(bucket: str) -> None:
    assert TEMPLATE["Conditions"][f"Creates{bucket}"] == {"Fn::Equals": [{"Ref": f"{bucket}Name"}, ""]}
    assert RESOURCES[bucket]["Condition"] == RESOURCES[f"{bucket}Policy"]["Condition"] == f"Creates{bucket}"
    assert TEMPLATE["Outputs"][bucket]["Value"] == made_or_given(bucket)


def test_the_worker_gives_away_no_role_but_those_of_flows_and_runs_nothing_but_flows() -> None:
    passed = [one for one in statements("WorkerRole") if "iam:PassRole" in listed(one["Action"])]
    assert [one["Resource"] for one in passed] == [
        [{"Fn::GetAtt": ["TaskRole", "Arn"]}, {"Fn::GetAtt": ["ExecutionRole", "Arn"]}]
    ]
    assert passed[0]["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    (ran,) = (one for one in statements("WorkerRole") if "ecs:RunTask" in listed(one["Action"]))
    family = TEMPLATE["Outputs"]["TaskFamily"]["Value"]["Fn::Sub"]
    assert ran["Resource"]["Fn::Sub"].endswith(f":task-definition/{family}:*")
    assert ran["Condition"] == {"ArnEquals": {"ecs:cluster": {"Fn::GetAtt": ["Cluster", "Arn"]}}}


def test_nobody_gets_in_but_tasks_into_the_warehouse() -> None:
    assert "AWS::EC2::SecurityGroupIngress" not in {one["Type"] for one in RESOURCES.values()}
    ways_in = {name: properties(name).get("SecurityGroupIngress") for name in of_type("AWS::EC2::SecurityGroup")}
    (way,) = ways_in.pop("WarehouseSecurityGroup")
    assert (way["FromPort"], way["ToPort"]) == (5439, 5439)
    assert way["SourceSecurityGroupId"] == {"Fn::GetAtt": ["TaskSecurityGroup", "GroupId"]}
    assert not [key for key in way if key.startswith("Cidr")]
    assert set(ways_in.values()) == {None}
    assert properties("WarehouseWorkgroup")["PubliclyAccessible"] is False


def test_no_value_of_a_secret_passes_through_the_template() -> None:
    for name in of_type("AWS::SecretsManager::Secret"):
        assert not {"SecretString", "GenerateSecretString"} & properties(name).keys()
    (container,) = properties("WorkerDefinition")["ContainerDefinitions"]
    plain = {one["Name"] for one in container["Environment"]}
    assert not [one for one in plain if is_secret(one)]
    assert "AdminUserPassword" not in properties("WarehouseNamespace")


def test_the_worker_gets_its_key_from_secrets_manager() -> None:
    (container,) = properties("WorkerDefinition")["ContainerDefinitions"]
    condition, secret, _ = container["Secrets"]["Fn::If"]
    assert condition == RESOURCES["PrefectCredential"]["Condition"]
    assert secret == [{"Name": {"Ref": "PrefectSecret"}, "ValueFrom": {"Ref": "PrefectCredential"}}]


def test_what_is_asked_for_as_a_secret_is_one() -> None:
    parameters = TEMPLATE["Parameters"]
    asked = parameters["SecretVariables"]["Default"].split(",") + parameters["PrefectSecret"]["AllowedValues"][:2]
    assert [one for one in asked if not is_secret(one)] == []


def test_logs_never_hold_up_the_worker() -> None:
    (container,) = properties("WorkerDefinition")["ContainerDefinitions"]
    assert container["LogConfiguration"]["Options"]["mode"] == "non-blocking"


@pytest.mark.parametrize("name", of_type("AWS::Logs::LogGroup"))
def test_logs_are_forgotten(name: str) -> None:
    assert properties(name)["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_an_image_that_was_pushed_stays_what_it_is() -> None:
    said = properties("Repository")
    assert said["ImageTagMutability"] == "IMMUTABLE"
    assert said["ImageScanningConfiguration"] == {"ScanOnPush": True}
    assert "LifecyclePolicy" in said


def test_outputs_are_those_that_the_work_pool_and_the_deploy_command_read() -> None:
    conditional = {name for name, one in TEMPLATE["Outputs"].items() if "Condition" in one}
    assert set(TEMPLATE["Outputs"]) - conditional == OUTPUTS
    assert set(re.findall(r"\$\{(\w+)\}", BASE_JOB_TEMPLATE.read_text())) <= OUTPUTS


@pytest.mark.parametrize("name", of_type("AWS::IAM::Role"))
def test_every_role_carries_the_boundary_if_there_is_one(name: str) -> None:
    boundary = {"Fn::If": ["HasBoundary", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]}
    assert properties(name)["PermissionsBoundary"] == boundary


@pytest.mark.parametrize("parameter", ["QueueArns", "RepositoryArns", "SecretArns", "KmsKeyArns", "WarehouseLoginArns"])
def test_what_is_there_already_is_allowed_only_if_it_is_named(parameter: str) -> None:
    condition = next(name for name, said in TEMPLATE["Conditions"].items() if {"Ref": parameter} in str_refs(said))
    conditional = [
        one["Fn::If"]
        for role in of_type("AWS::IAM::Role")
        for document in documents(role)
        for one in document["Statement"]
        if "Fn::If" in one
    ]
    using = [one for one in conditional if one[1].get("Resource") == {"Fn::Split": [",", {"Ref": parameter}]}]
    assert using
    assert {one[0] for one in using} == {condition}


def str_refs(said: Any) -> list[Any]:
    """Every value in a condition, at any depth."""
    inner = said.values() if isinstance(said, dict) else said if isinstance(said, list) else []
    return [said, *(one for value in inner for one in str_refs(value))]


def test_the_policy_of_whoever_deploys_names_every_action_and_only_what_is_of_the_environment() -> None:
    policy = json.loads((PATH.parent / "deployer_policy.json").read_text())
    for statement in policy["Statement"]:
        assert not [action for action in statement["Action"] if "*" in action]
    of_all = {one["Sid"] for one in policy["Statement"] if one["Resource"] == "*"}
    assert of_all == {
        "WhoAmI", "RoleOfEcsInANewAccount", "Network", "ClusterAndItsTasks", "LogInToRegistryAndListSecrets",
        "RedshiftServerlessIfAskedFor",
    }  # fmt: skip
    services = {action.partition(":")[0] for one in policy["Statement"] for action in one["Action"]}
    made = {one["Type"].split("::")[1].lower() for one in RESOURCES.values()}
    assert made <= services | {"redshiftserverless"}


def test_it_fits_into_one_request() -> None:
    assert len(PATH.read_bytes()) < 51_200
