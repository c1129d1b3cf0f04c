"""An inbox on the AWS emulator: a topic, a queue that is subscribed to it, and the alerts that arrived."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prefect_aws import AwsClientParameters, AwsCredentials
from pydantic import SecretStr

from local.stack import Stack
from millrace.blocks.sns import SnsNotification
from tests.conftest import unique

DEADLINE_SECONDS = 90


@dataclass(frozen=True)
class Mail:
    """One message as a subscriber by e-mail gets it."""

    subject: str
    body: str

    @property
    def text(self) -> str:
        return f"{self.subject}\n{self.body}"


@dataclass
class Inbox:
    """What arrived so far, in order."""

    stack: Stack
    topic_arn: str
    queue_url: str
    mails: list[Mail] = field(default_factory=list)

    @classmethod
    def open(cls, stack: Stack, topic_arn: str = "") -> Inbox:
        """Of a topic of its own, or of that one."""
        name = unique("alerts")
        topic_arn = topic_arn or stack.aws.client("sns").create_topic(Name=name)["TopicArn"]
        queue = stack.aws.client("sqs")
        queue_url = queue.create_queue(QueueName=name)["QueueUrl"]
        arn = queue.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        stack.aws.client("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn)
        return cls(stack, topic_arn, queue_url)

    def block(self) -> SnsNotification:
        """The topic as a block."""
        environment = self.stack.aws.environment()
        return SnsNotification(
            topic_arn=self.topic_arn,
            credentials=AwsCredentials(
                aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=SecretStr(environment["AWS_SECRET_ACCESS_KEY"]),
                region_name=environment["AWS_DEFAULT_REGION"],
                aws_client_parameters=AwsClientParameters(endpoint_url=self.stack.aws.url),
            ),
        )

    def read(self) -> list[Mail]:
        """Everything that arrived until now."""
        queue = self.stack.aws.client("sqs")
        while found := self._receive(queue):
            for message in found:
                content = json.loads(message["Body"])
                self.mails.append(Mail(content.get("Subject", ""), content["Message"]))
                queue.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return self.mails

    def wait_for(self, wanted: Callable[[list[Mail]], bool]) -> list[Mail]:
        """Read until ``wanted``; fails with what is there when that does not come."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not wanted(self.read()):
            assert time.monotonic() < deadline, [mail.subject for mail in self.mails]
            time.sleep(0.2)
        return self.mails

    def mail_with(self, *words: str) -> Mail:
        """The first mail that holds all of these words, once it is there."""

        def found() -> list[Mail]:
            return [mail for mail in self.mails if all(one in mail.text for one in words)]

        self.wait_for(lambda _: bool(found()))
        return found()[0]

    def _receive(self, queue: Any) -> list[dict[str, Any]]:
        return queue.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get("Messages", [])
