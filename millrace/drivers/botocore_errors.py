"""boto3's errors about a queue as ours: which a person has to fix, which pass by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from millrace.base.errors import ConfigurationError, FatalError, MillraceError, SourceMissing, Unreachable
from millrace.base.redact import redact

MISSING_CODES = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
FORBIDDEN_STATUSES, THROTTLED_STATUS = frozenset({401, 403}), 429
REFUSED_CODES = frozenset({"InvalidClientTokenId", "UnrecognizedClientException", "ExpiredToken"})
PASSING_CODES = frozenset({"RequestThrottled", "Throttling", "ThrottlingException", "OverLimit", "RequestTimeout"})
PASSING_ERRORS = (exceptions.ConnectionError, exceptions.HTTPClientError)


LOOK_AT_AWS = "see that the AWS block, and the AWS variables and files of the place where this runs, are right"


@contextmanager
def queue_errors(place: str) -> Iterator[None]:
    """Within it, errors of boto3 become the engine's, naming ``place``: the queue."""
    try:
        yield
    except ClientError as error:
        raise _refusal(error, place) from None
    except BotoCoreError as error:
        raise _failure(error, place) from None


def _refusal(error: ClientError, place: str) -> MillraceError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    answer = f"SQS answers {status} {code}"
    if code in MISSING_CODES:
        return SourceMissing("the queue is not there", place=place, remedy="create it, or correct the block's URL")
    if code in PASSING_CODES or status == THROTTLED_STATUS or status >= 500:
        return Unreachable(answer, place=place, remedy="run again later")
    if code in REFUSED_CODES or status in FORBIDDEN_STATUSES:
        return ConfigurationError(answer, place=place, remedy="see that role or keys may use this queue")
    return FatalError(answer, place=place, remedy="see what SQS means by this code, and that the block's URL is right")


def _failure(error: BotoCoreError, place: str) -> MillraceError:
    if isinstance(error, exceptions.NoCredentialsError):
        return ConfigurationError(
            "there are no AWS credentials", place=place, remedy="give the task a role, or set them in the AWS block"
        )
    if isinstance(error, exceptions.NoRegionError):
        return ConfigurationError("no region is known", place=place, remedy="set AWS_DEFAULT_REGION, and bootstrap")
    if isinstance(error, PASSING_ERRORS):
        return Unreachable(redact(error), place=place, remedy="see that the endpoint and the network are right")
    # Its words may hold what was sent or received.
    return FatalError(f"{type(error).__name__} of boto3", place=place, remedy=LOOK_AT_AWS)
