"""Block type for an Amazon SNS topic that alerts are published to; subscribers of the topic get an e-mail.

Prefect has blocks for Slack, e-mail providers and others, but none for SNS.
"""

from __future__ import annotations

import asyncio
import unicodedata
from typing import Any

from prefect._internal.compatibility.async_dispatch import async_dispatch
from prefect.blocks.abstract import NotificationBlock, NotificationError
from prefect_aws import AwsCredentials
from pydantic import Field
from typing_extensions import override

from millrace.base.errors import MillraceError
from millrace.base.redact import redact
from millrace.drivers.botocore_errors import topic_errors

SUBJECT_CHARACTERS = 100
"""SNS refuses longer subjects, and any character that is not printable ASCII."""
BODY_BYTES = 200 * 1024
"""SNS refuses messages above 256 KB, the subject included."""
# An alert must not keep a failed run alive for minutes: boto's own limits are 60 seconds, five times over.
CLIENT_CONFIG: dict[str, Any] = {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 2}}


class SnsNotification(NotificationBlock):
    """An Amazon SNS topic that gets notifications as plain text.

    Example:
        ```python
        from millrace.blocks.sns import SnsNotification

        topic = await SnsNotification.aload("alerts")
        await topic.anotify("The body.", subject="The subject")
        ```
    """

    _block_type_name = "Millrace SNS Notification"
    _block_type_slug = "millrace-sns"

    topic_arn: str = Field(
        title="Topic ARN",
        description="ARN of the topic; its region is the one that is asked.",
        pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]+$",
    )
    credentials: AwsCredentials = Field(description="Must be allowed to sns:Publish to the topic.")

    async def anotify(self, body: str, subject: str | None = None) -> None:
        """Publish one message; secrets in it are masked.

        Raises Unreachable or ConfigurationError; inside of ``raise_on_failure``, where Prefect's own actions call it,
        NotificationError with the same words.
        """
        await asyncio.to_thread(self._notify, body, subject)

    # The base class declares a coroutine function; Prefect's own blocks, too, answer in both worlds.
    @async_dispatch(anotify)
    @override
    def notify(self, body: str, subject: str | None = None) -> None:  # type: ignore[override]
        """Publish one message like ``anotify``, for callers that are not async."""
        self._notify(body, subject)

    def _notify(self, body: str, subject: str | None) -> None:
        try:
            self._publish(body, subject)
        except MillraceError as error:
            if self._raise_on_failure:
                raise NotificationError(str(error)) from error
            raise

    def _publish(self, body: str, subject: str | None) -> None:
        message = {"TopicArn": self.topic_arn, "Message": _plain_body(body)}
        if title := _plain_subject(subject or ""):
            message["Subject"] = title
        with topic_errors(self.topic_arn):
            self.client().publish(**message)

    def client(self) -> Any:
        """Return a boto3 client of SNS in the region of the topic."""
        parameters = self.credentials.aws_client_parameters
        with_timeouts = parameters.model_copy(update={"config": {**(parameters.config or {}), **CLIENT_CONFIG}})
        region = self.topic_arn.split(":")[3]
        credentials = self.credentials.model_copy(
            update={"aws_client_parameters": with_timeouts, "region_name": region}
        )
        return credentials.get_client("sns")


def _plain_subject(text: str) -> str:
    ascii_text = unicodedata.normalize("NFKD", redact(text)).encode("ascii", "ignore").decode()
    words = " ".join("".join(character if character.isprintable() else " " for character in ascii_text).split())
    return words if len(words) <= SUBJECT_CHARACTERS else f"{words[: SUBJECT_CHARACTERS - 3]}..."


def _plain_body(text: str) -> str:
    # SNS refuses an empty message.
    return redact(text).encode()[:BODY_BYTES].decode(errors="ignore") or "-"
