"""Outputs of a stack that was never made, and its secrets."""

from __future__ import annotations

ACCOUNT, REGION = "123456789012", "eu-west-1"
OUTPUTS = {
    "ClusterArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/millrace-prod",
    "TaskFamily": "millrace-prod-flow",
    "TaskRoleArn": f"arn:aws:iam::{ACCOUNT}:role/millrace-prod-task",
    "ExecutionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/millrace-prod-execution",
    "VpcId": "vpc-1",
    "Subnets": "subnet-1,subnet-2",
    "SecurityGroups": "sg-1",
    "AssignPublicIp": "DISABLED",
    "LogGroup": "/millrace/prod/flows",
    "RepositoryUri": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/millrace-prod",
    "LandingBucket": "millrace-prod-landing",
    "ProcessedBucket": "millrace-prod-processed",
    "EventsQueueUrl": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/millrace-prod-events",
    "EventsDeadLetterQueueUrl": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/millrace-prod-events-dead-letter",
    "TaskEventsQueueName": "prefect-ecs-tasks-events",
    "AlertTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:millrace-prod-alerts",
    "SecretsPrefix": "millrace/prod",
    "WarehouseRoleArn": f"arn:aws:iam::{ACCOUNT}:role/millrace-prod-warehouse",
}


def secret_arn(variable: str) -> str:
    """Of a secret by the environment variable that holds its value."""
    return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{OUTPUTS['SecretsPrefix']}/{variable}-a1B2c3"


SECRETS = {name: secret_arn(name) for name in ("SOURCE_POSTGRES_URL", "WAREHOUSE_URL")}
