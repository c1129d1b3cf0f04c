"""The queue's block: a client that fits long polls and asks the right region; a wrong URL is refused unseen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prefect_aws import AwsClientParameters, AwsCredentials
from pydantic import ValidationError

from local.processes import LOCALHOST, free_port
from local.stack import EVENTS_DEAD_LETTER_QUEUE, EVENTS_QUEUE, Stack
from millrace.base.errors import ConfigurationError, FatalError, SourceMissing, Unreachable
from millrace.blocks import names
from millrace.blocks.environment import make_blocks
from millrace.blocks.load import load_source_queue
from millrace.blocks.queue import LONG_POLL_SECONDS, Queue
from millrace.drivers.botocore_errors import queue_errors
from tests.blocks.test_documents import DESCRIBED
from tests.conftest import unique

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/events"
NO_OTHER_SOURCE = {name: value for name, value in DESCRIBED.items() if not name.startswith("SOURCE_")}


def described(url: str, **more: str) -> Queue:
    """The block that the environment describes with this URL."""
    block = dict(make_blocks(NO_OTHER_SOURCE | {"SOURCE_SQS_URL": url} | more))["source-sqs"]
    assert isinstance(block, Queue)
    return block


async def test_a_loaded_block_sends_and_receives(stack: Stack, prefect_server: object) -> None:
    connection = unique("events").replace("_", "-")
    described = dict(make_blocks(stack.environment() | {"SOURCE_SQS_URL": stack.aws.create_queue(connection)}))
    await described["source-sqs"].asave(names.source_name("sqs", connection))
    queue = await load_source_queue(connection)
    client = queue.client()
    client.send_message(QueueUrl=queue.url, MessageBody="ö")
    answer = client.receive_message(QueueUrl=queue.url, WaitTimeSeconds=1)
    assert [message["Body"] for message in answer["Messages"]] == ["ö"]


async def test_a_missing_document_names_the_remedy(prefect_server: object) -> None:
    with pytest.raises(ConfigurationError, match=r"millrace-queue/source-sqs-ghost.*blocks\.bootstrap"):
        await load_source_queue("ghost")


def test_the_stack_has_the_queue_and_its_dead_letter_queue(stack: Stack) -> None:
    blocks: dict[str, Any] = dict(make_blocks(stack.environment()))
    source, dead = (blocks[names.source_name("sqs", one)] for one in ("events", names.dead_letter("events")))
    assert [block.url.rsplit("/", 1)[1] for block in (source, dead)] == [EVENTS_QUEUE, EVENTS_DEAD_LETTER_QUEUE]
    asked = [attributes_of(block) for block in (source, dead)]
    assert [one["MessageRetentionPeriod"] for one in asked] == ["1209600", "1209600"]
    assert asked[0]["VisibilityTimeout"] == "60"
    policy = json.loads(asked[0]["RedrivePolicy"])
    assert policy == {"deadLetterTargetArn": asked[1]["QueueArn"], "maxReceiveCount": 10}
    assert "RedrivePolicy" not in asked[1]


def attributes_of(queue: Queue) -> dict[str, Any]:
    return queue.client().get_queue_attributes(QueueUrl=queue.url, AttributeNames=["All"])["Attributes"]


def test_a_queue_that_is_there_stays(stack: Stack) -> None:
    name = unique("events")
    url = stack.aws.create_queue(name)
    stack.aws.client("sqs").send_message(QueueUrl=url, MessageBody="first")
    assert stack.aws.create_queue(name, dead_letter=EVENTS_DEAD_LETTER_QUEUE) == url
    assert stack.aws.client("sqs").receive_message(QueueUrl=url)["Messages"][0]["Body"] == "first"


def test_connections_of_dead_letter_queues() -> None:
    assert (names.dead_letter("events"), names.dead_letter()) == ("events-dead-letter", "dead-letter")


def test_a_queue_alone_is_source_enough() -> None:
    described_names = [name for name, _ in make_blocks(NO_OTHER_SOURCE | {"SOURCE_SQS_URL": URL})]
    assert described_names.index("source-sqs") > described_names.index("aws")


def test_the_client_has_patience_and_connections() -> None:
    config = described(URL).client(32, read_timeout_seconds=45).meta.config
    assert (config.max_pool_connections, config.connect_timeout, config.read_timeout) == (32, 5, 45)
    assert config.retries["mode"] == "standard"
    assert described(URL).client().meta.config.read_timeout > LONG_POLL_SECONDS


def test_less_patience_than_a_long_poll_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=f"{URL}: 20 s for an answer"):
        described(URL).client(read_timeout_seconds=LONG_POLL_SECONDS)


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.us-west-2.amazonaws.com/123456789012/events", "us-west-2"),
        ("https://sqs-fips.us-east-2.amazonaws.com/123456789012/events", "us-east-2"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/events", "cn-north-1"),
        ("http://127.0.0.1:4566/123456789012/events", "eu-west-1"),
    ],
)
def test_the_url_says_the_region_else_the_credentials(url: str, region: str) -> None:
    assert described(url).client().meta.region_name == region


def test_other_parameters_of_the_client_are_kept() -> None:
    client = described(URL, AWS_ENDPOINT_URL="http://127.0.0.1:9").client()
    assert client.meta.endpoint_url == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "url",
    [
        "sqs.eu-west-1.amazonaws.com/123456789012/events",
        "https://sqs.eu-west-1.amazonaws.com/events",
        "https://sqs.eu-west-1.amazonaws.com/12345/events",
        "https://key:s3cr3t-W0rd@sqs.eu-west-1.amazonaws.com/123456789012/events",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/events.fifo",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/events?Action=SendMessage",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/" + "x" * 81,
        "arn:aws:sqs:eu-west-1:123456789012:events",
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"SOURCE_SQS_URL: this is not the URL.*Remedy") as raised:
        described(url)
    assert "s3cr3t-W0rd" not in str(raised.value)
    with pytest.raises(ValidationError):
        Queue(url=url, credentials=AwsCredentials())


def test_a_queue_that_is_not_there(stack: Stack) -> None:
    gone = f"{stack.queue_url}-gone"
    with pytest.raises(SourceMissing, match=r"-gone: the queue is not there.*Remedy"), queue_errors(gone):
        stack.aws.client("sqs").receive_message(QueueUrl=gone)


def test_no_answer_is_unreachable_and_shows_no_secret() -> None:
    parameters = AwsClientParameters(
        endpoint_url=f"http://{LOCALHOST}:{free_port()}", config={"retries": {"total_max_attempts": 1}}
    )
    credentials = described(URL, AWS_ENDPOINT_URL="http://127.0.0.1:9").credentials
    client = credentials.model_copy(update={"aws_client_parameters": parameters}).get_client("sqs")
    with pytest.raises(Unreachable, match="Remedy") as raised, queue_errors(URL):
        client.receive_message(QueueUrl=URL)
    assert "s3cr3t-W0rd" not in str(raised.value)


def test_what_a_queue_does_not_understand_is_fatal_and_not_told_as_rights(stack: Stack) -> None:
    with pytest.raises(FatalError, match="SQS answers 400"), queue_errors(stack.queue_url):
        stack.aws.client("sqs").delete_message(QueueUrl=stack.queue_url, ReceiptHandle="no handle")


def test_what_the_client_refuses_to_send_is_not_shown() -> None:
    client = described(URL, AWS_ENDPOINT_URL="http://127.0.0.1:9").credentials.get_client("sqs")
    with pytest.raises(FatalError, match=r"ParamValidationError of boto3\. Remedy") as raised, queue_errors(URL):
        client.send_message(QueueUrl=URL, MessageBody={"email": "smith@example.com"})
    assert "smith" not in str(raised.value)
