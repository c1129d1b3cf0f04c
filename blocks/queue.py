"""Block type for an Amazon SQS queue: its URL, credentials for it, and a client that is made for long polls."""

from __future__ import annotations

import re
from typing import Any

from prefect.blocks.core import Block
from prefect_aws import AwsCredentials
from pydantic import Field

from millrace.base.errors import ConfigurationError

LONG_POLL_SECONDS = 20
"""The longest time that SQS lets a receive wait for messages."""
URL_PATTERN = r"^https?://[A-Za-z0-9.:-]+/\d{12}/[A-Za-z0-9_-]{1,80}$"
"""The URL of a standard queue. Queues whose name ends in .fifo need message groups, which our messages do not have."""
_REGION = re.compile(r"https?://sqs(-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/")


class Queue(Block):
    """An Amazon SQS queue (a standard one, no FIFO).

    Example:
        ```python
        from millrace.blocks.queue import Queue

        queue = await Queue.aload("source-sqs-events")
        answer = queue.client().receive_message(QueueUrl=queue.url, WaitTimeSeconds=20)
        ```
    """

    _block_type_name = "Millrace Queue"
    _block_type_slug = "millrace-queue"

    url: str = Field(
        title="URL",
        description="https://sqs.<region>.amazonaws.com/<account>/<name>; its region is the one that is asked, and the "
        "credentials' where it names none.",
        pattern=URL_PATTERN,
    )
    credentials: AwsCredentials = Field(
        description="Must be allowed to sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility on a "
        "source, sqs:SendMessage where messages are sent to."
    )

    def client(
        self,
        connections: int = 10,
        *,
        connect_timeout_seconds: float = 5,
        read_timeout_seconds: float = 2 * LONG_POLL_SECONDS,
    ) -> Any:
        """Return a boto3 client of SQS for as many threads as ``connections``; equal blocks share one.

        Raises ConfigurationError if an answer may take no longer than a long poll.
        """
        if read_timeout_seconds <= LONG_POLL_SECONDS:
            raise ConfigurationError(
                f"{read_timeout_seconds} s for an answer, and a long poll takes {LONG_POLL_SECONDS} s",
                place=self.url,
                remedy="give more seconds",
            )
        config: dict[str, Any] = {
            "max_pool_connections": connections,
            "connect_timeout": connect_timeout_seconds,
            "read_timeout": read_timeout_seconds,
            "retries": {"mode": "standard", "total_max_attempts": 5},
        }
        parameters = self.credentials.aws_client_parameters
        with_timeouts = parameters.model_copy(update={"config": {**(parameters.config or {}), **config}})
        changes = {"aws_client_parameters": with_timeouts, "region_name": self._region()}
        return self.credentials.model_copy(update=changes).get_client("sqs")

    def _region(self) -> str | None:
        named = _REGION.match(self.url)
        return named["region"] if named else self.credentials.region_name
