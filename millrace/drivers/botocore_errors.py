"""Errors of boto3 as those of Millrace: which a person fixes, which pass by themselves.

They are about queues, buckets and the credentials of Redshift.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from boto3.exceptions import Boto3Error, RetriesExceededError, S3UploadFailedError
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from millrace.base.errors import ConfigurationError, FatalError, MillraceError, SourceMissing, Unreachable
from millrace.base.redact import redact
from millrace.drivers.meanings import Meaning, Said, find_meaning

THROTTLED_STATUS, SERVER_ERRORS = 429, range(500, 600)
RUN_LATER = "run again later"


class ObjectExists(FatalError):
    """A conditional write was refused: the key is there."""


@dataclass(frozen=True)
class AwsService:
    """A service of AWS, and what its answers mean."""

    name: str
    answers: tuple[Meaning, ...]
    otherwise: Meaning


_SQS = AwsService(
    "SQS",
    (
        Meaning(
            SourceMissing,
            "create it, or correct the block's URL",
            instead="the queue is not there",
            codes={"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"},
        ),
        Meaning(
            Unreachable,
            RUN_LATER,
            codes={"RequestThrottled", "Throttling", "ThrottlingException", "OverLimit", "RequestTimeout"},
            statuses={THROTTLED_STATUS, *SERVER_ERRORS},
        ),
        Meaning(
            ConfigurationError,
            "see that role or keys may use this queue",
            codes={"InvalidClientTokenId", "UnrecognizedClientException", "ExpiredToken"},
            statuses={401, 403},
        ),
    ),
    otherwise=Meaning(FatalError, "see what SQS means by this code, and that the block's URL is right"),
)
_S3 = AwsService(
    "S3",
    (
        Meaning(ObjectExists, "write under a new key", instead="the object is there already", statuses={412}),
        Meaning(
            SourceMissing,
            "create it, or correct the S3 Bucket block",
            instead="the bucket is not there",
            codes={"NoSuchBucket"},
        ),
        Meaning(
            SourceMissing,
            "see that key and bucket are right",
            instead="the object is not there",
            statuses={404},
        ),
        Meaning(
            Unreachable,
            RUN_LATER,
            codes={"RequestTimeout", "SlowDown", "Throttling"},
            # 409: another conditional write of the same key is under way.
            statuses={409, THROTTLED_STATUS, 500, 502, 503, 504},
        ),
    ),
    otherwise=Meaning(ConfigurationError, "see that the role or keys may read and write this bucket"),
)
_SNS = AwsService(
    "SNS",
    (
        Meaning(
            ConfigurationError,
            "create it, or correct the block's topic_arn",
            instead="the topic is not there",
            statuses={404},
        ),
        Meaning(
            Unreachable,
            "try again later",
            codes={"Throttled", "ThrottledException", "Throttling", "KMSThrottling", "RequestTimeout"},
            statuses={THROTTLED_STATUS, *SERVER_ERRORS},
        ),
    ),
    otherwise=Meaning(ConfigurationError, "see that role or keys may use this topic"),
)
_REDSHIFT = AwsService(
    "Redshift",
    (
        Meaning(
            SourceMissing,
            "correct workgroup or cluster, and region, in the warehouse's URL",
            instead="the warehouse is not there",
            codes={"ResourceNotFoundException", "ClusterNotFound", "ClusterNotFoundFault"},
        ),
        Meaning(
            Unreachable,
            RUN_LATER,
            codes={"Throttling", "ThrottlingException", "RequestLimitExceeded", "InternalServerException"},
            statuses={THROTTLED_STATUS, *SERVER_ERRORS},
        ),
    ),
    otherwise=Meaning(
        ConfigurationError,
        "let the role mint credentials (redshift-serverless:GetCredentials, redshift:GetClusterCredentialsWithIAM or "
        "redshift:GetClusterCredentials, and sts:AssumeRole for role_arn)",
    ),
)
_FAILURES = (
    Meaning(
        ConfigurationError,
        "give the task a role, or set them in the AWS block",
        instead="there are no AWS credentials",
        classes=(exceptions.NoCredentialsError,),
    ),
    Meaning(
        ConfigurationError,
        "set AWS_DEFAULT_REGION, and bootstrap",
        instead="no region is known",
        classes=(exceptions.NoRegionError,),
    ),
    Meaning(
        Unreachable,
        "see that the endpoint and the network are right",
        classes=(
            exceptions.ConnectionError,
            exceptions.HTTPClientError,
            exceptions.IncompleteReadError,
            RetriesExceededError,
        ),
    ),
)
"""What a failure means in which the service did not answer."""


@contextmanager
def queue_errors(place: str) -> Iterator[None]:
    """Translate errors of boto3 about a queue, naming ``place``."""
    with _aws_errors(_SQS, place):
        yield


@contextmanager
def bucket_errors(place: str) -> Iterator[None]:
    """Translate errors of boto3 about a bucket, naming ``place``."""
    with _aws_errors(_S3, place):
        yield


@contextmanager
def topic_errors(place: str) -> Iterator[None]:
    """Translate errors of boto3 about a topic, naming ``place``."""
    with _aws_errors(_SNS, place):
        yield


@contextmanager
def redshift_errors(place: str) -> Iterator[None]:
    """Translate errors of boto3 about the credentials of a warehouse, naming ``place``."""
    with _aws_errors(_REDSHIFT, place):
        yield


@contextmanager
def _aws_errors(service: AwsService, place: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, Boto3Error, ClientError) as error:
        # Of a file boto3 wraps the answer of S3.
        answer = error.__context__ if isinstance(error, S3UploadFailedError) else error
        if isinstance(answer, ClientError):
            raise _translate_answer(answer, service, place) from None
        raise _translate_failure(error, place) from None


def _translate_answer(error: ClientError, service: AwsService, place: str) -> MillraceError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    meaning = find_meaning(service.answers, Said(error, code, status=status)) or service.otherwise
    return meaning.make_error(f"{service.name} answers {status} {code}", place)


def _translate_failure(error: Exception, place: str) -> MillraceError:
    if meaning := find_meaning(_FAILURES, Said(error)):
        return meaning.make_error(redact(error), place)
    # Its words may hold what was sent or received.
    return FatalError(
        f"{type(error).__name__} of boto3",
        place=place,
        remedy="see that the AWS block, and the AWS variables and files of the place where this runs, are right",
    )
