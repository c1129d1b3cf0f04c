"""An AWS emulator on 127.0.0.1: MiniStack, one endpoint for every service the project uses.

Objects and queues live in its memory unless the directory is kept.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.session import Session as BotocoreSession

from local.processes import LOCALHOST, Process, answers_http, free_port, lasting_port, neutral_environment

ACCOUNT_ID = "123456789012"
REGION = "us-east-1"
SIGNING_KEY = "local-emulator-only"
"""It takes any."""
SERVICES = (
    "s3,sqs,sns,ses,ecs,ec2,sts,iam,logs,events,secretsmanager,ssm,cloudformation,ecr,monitoring,scheduler,lambda"
)
RECEIVES_BEFORE_DEAD_LETTER = 10
"""So often may a message be received; then the queue itself puts it aside."""
VISIBILITY_SECONDS = 60
RETENTION_SECONDS = 14 * 24 * 3600
"""SQS keeps no message longer."""

# The person's own profiles and files have no say in a client of the emulator.
NO_FILES = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None)) | {
    "profile": (None, None, None, None)
}


@dataclass(frozen=True)
class AwsServer:
    """A running emulator of AWS."""

    process: Process
    port: int

    @property
    def url(self) -> str:
        """The endpoint of every service."""
        return f"http://{LOCALHOST}:{self.port}"

    def environment(self) -> dict[str, str]:
        """Return the AWS_* variables with which boto3 and the AWS CLI use the emulator and nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCOUNT_ID,
            "AWS_SECRET_ACCESS_KEY": SIGNING_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        """Return a boto3 client of the emulator, one for the whole process."""
        return _client(service, self.url)

    def create_bucket(self, name: str) -> str:
        """Create the bucket if it is not there; returns its name."""
        self.client("s3").create_bucket(Bucket=name)
        return name

    def create_queue(self, name: str, *, dead_letter: str = "") -> str:
        """Create the queue if it is not there; returns its URL. ``dead_letter`` names a queue that is there."""
        client = self.client("sqs")
        attributes = {"VisibilityTimeout": str(VISIBILITY_SECONDS), "MessageRetentionPeriod": str(RETENTION_SECONDS)}
        if dead_letter:
            target = f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{dead_letter}"
            redrive = {"deadLetterTargetArn": target, "maxReceiveCount": RECEIVES_BEFORE_DEAD_LETTER}
            attributes["RedrivePolicy"] = json.dumps(redrive)
        try:
            client.get_queue_url(QueueName=name)
        except client.exceptions.QueueDoesNotExist:
            client.create_queue(QueueName=name, Attributes=attributes)
        # A queue that was kept bears in its own URL the port of the emulator that made it.
        return f"{self.url}/{ACCOUNT_ID}/{name}"

    def stop(self) -> None:
        """Stop the emulator."""
        self.process.stop()


@cache
def _client(service: str, url: str) -> Any:
    """Kept, since it takes a seventh of a second to make. Threads may share it."""
    session = boto3.Session(
        botocore_session=BotocoreSession(session_vars=NO_FILES),
        aws_access_key_id=ACCOUNT_ID,
        aws_secret_access_key=SIGNING_KEY,
        region_name=REGION,
    )
    return session.client(service, endpoint_url=url)


def launch_aws(directory: Path, *, kept: bool = False) -> AwsServer:
    """Start an emulator without waiting for it. ``kept`` stores objects in ``directory`` for the next start."""
    directory.mkdir(parents=True, exist_ok=True)
    # What is kept refers to it: queues' addresses in the stack's outputs and in Prefect's blocks.
    port = lasting_port(directory / "port") if kept else free_port()
    process = Process(
        "aws",
        [sys.executable, "-m", "ministack"],
        log_path=directory / "aws.log",
        environment=neutral_environment()
        | {
            "BIND_HOST": LOCALHOST,
            "GATEWAY_PORT": str(port),
            "MINISTACK_HOST": LOCALHOST,
            "SERVICES": SERVICES,
            "MINISTACK_REGION": REGION,
            # Else it opens MQTT's fixed port 8883 on every interface.
            "IOT_MTLS_ENABLED": "0",
            "TMPDIR": str(directory),
            "STATE_DIR": str(directory / "state"),
            "S3_DATA_DIR": str(directory / "objects"),
            "S3_PERSIST": "1" if kept else "0",
            "PERSIST_STATE": "1" if kept else "0",
            "LOG_LEVEL": "WARNING",
        },
    )
    process.start()
    return AwsServer(process, port)


def wait_for_aws(server: AwsServer) -> AwsServer:
    """Wait until a launched emulator answers."""
    server.process.wait_until(lambda: answers_http(f"{server.url}/_ministack/health"))
    return server
