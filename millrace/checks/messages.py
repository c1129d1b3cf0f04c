"""Checks of a queue that messages come from, and of the topic that alerts go to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from millrace.base.errors import ConfigurationError
from millrace.checks.check import Check
from millrace.drivers.botocore_errors import queue_errors, topic_errors


@dataclass(frozen=True)
class QueueAddress:
    """A queue, asked by a client of boto3."""

    place: str
    url: str
    client: Any
    is_source: bool = True
    """Whether messages are received from it; else they are sent to it."""

    def checks(self) -> list[Check]:
        """Return the checks of the queue."""
        return [Check(self.place, "queue", "Asks the queue how many messages wait.", self._look)]

    def _look(self) -> str:
        with queue_errors(self.place):
            answer = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["ApproximateNumberOfMessages"])
            waiting = int(answer["Attributes"]["ApproximateNumberOfMessages"])
            if self.is_source and not waiting:
                # A receive counts, and after ten a message is a dead letter: only an empty queue is received from.
                self.client.receive_message(QueueUrl=self.url, VisibilityTimeout=0, WaitTimeSeconds=0)
        return f"about {waiting} messages wait"


@dataclass(frozen=True)
class Topic:
    """A topic of SNS, asked by a client of boto3."""

    place: str
    arn: str
    client: Any

    def checks(self) -> list[Check]:
        """Return the checks of the topic."""
        return [Check(self.place, "topic", "Counts who confirmed a subscription.", self._count_subscribers)]

    def _count_subscribers(self) -> str:
        with topic_errors(self.arn):
            attributes = self.client.get_topic_attributes(TopicArn=self.arn)["Attributes"]
        confirmed, pending = (int(attributes.get(f"Subscriptions{name}", 0)) for name in ("Confirmed", "Pending"))
        if not confirmed:
            waits = f"; {pending} wait for a confirmation: open the mail of AWS" if pending else ""
            raise ConfigurationError(
                f"nobody confirmed a subscription: alerts reach nobody{waits}",
                remedy=f"`aws sns subscribe --topic-arn {self.arn} --protocol email --notification-endpoint ADDRESS`, "
                "then open the link in the mail; alert_email in the environment's file does the first half",
            )
        return f"{confirmed} confirmed subscriptions, {pending} pending"
