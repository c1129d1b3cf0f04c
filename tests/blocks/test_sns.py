"""The SNS block: a message arrives as plain text, what SNS refuses is mended or told, secrets stay inside."""

from __future__ import annotations

import pytest
from prefect.blocks.abstract import NotificationError
from prefect_aws import AwsClientParameters

from local.processes import LOCALHOST, free_port
from local.stack import Stack
from millrace.base.errors import ConfigurationError, Unreachable
from millrace.blocks.bootstrap import bootstrap
from millrace.blocks.environment import make_blocks
from millrace.blocks.sns import BODY_BYTES, SnsNotification
from tests.blocks.test_documents import DESCRIBED
from tests.flows.inbox import Inbox, Mail

SECRET = "s3cr3t-W0rd"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:millrace-alerts"


@pytest.fixture
def inbox(stack: Stack) -> Inbox:
    return Inbox.open(stack)


async def test_a_message_arrives(inbox: Inbox) -> None:
    await inbox.block().anotify("First line.\nZweite Zeile: Öl.", subject="What happened")
    assert inbox.read() == [Mail("What happened", "First line.\nZweite Zeile: Öl.")]


def test_it_is_sent_from_synchronous_code_too(inbox: Inbox) -> None:
    inbox.block().notify("body")
    assert [mail.body for mail in inbox.read()] == ["body"]


@pytest.mark.parametrize(
    ("subject", "sent"),
    [
        ("Café – drei\nZeilen\ttief", "Cafe drei Zeilen tief"),
        ("x" * 100, "x" * 100),
        ("x" * 101, "x" * 97 + "..."),
        (f"password={SECRET}", "password=***"),
    ],
)
async def test_a_subject_becomes_one_that_sns_takes(inbox: Inbox, subject: str, sent: str) -> None:
    await inbox.block().anotify("body", subject=subject)
    assert [mail.subject for mail in inbox.read()] == [sent]


async def test_a_long_body_is_cut_between_characters(inbox: Inbox) -> None:
    await inbox.block().anotify("x" + "é" * BODY_BYTES)
    (mail,) = inbox.read()
    assert mail.body == "x" + "é" * ((BODY_BYTES - 1) // 2)


async def test_secrets_in_a_body_are_masked(inbox: Inbox) -> None:
    await inbox.block().anotify(f"cannot connect to postgresql://reader:{SECRET}@db.example.com/bank")
    assert [mail.body for mail in inbox.read()] == ["cannot connect to postgresql://reader:***@db.example.com/bank"]


async def test_a_topic_that_is_not_there(inbox: Inbox) -> None:
    gone = inbox.block().model_copy(update={"topic_arn": f"{inbox.topic_arn}-gone"})
    with pytest.raises(ConfigurationError, match=r"-gone: the topic is not there.*Remedy") as raised:
        await gone.anotify("body")
    with pytest.raises(NotificationError) as told, gone.raise_on_failure():
        await gone.anotify("body")
    assert told.value.log == str(raised.value)


async def test_no_answer_is_unreachable_and_shows_no_secret(inbox: Inbox) -> None:
    block = inbox.block()
    silent = AwsClientParameters(endpoint_url=f"http://{LOCALHOST}:{free_port()}")
    credentials = block.credentials.model_copy(update={"aws_client_parameters": silent})
    with pytest.raises(Unreachable, match="Remedy: see that the endpoint") as raised:
        await block.model_copy(update={"credentials": credentials}).anotify("body")
    assert "local-emulator-only" not in str(raised.value)


def test_the_environment_describes_the_topic() -> None:
    block = dict(make_blocks(DESCRIBED | {"ALERT_TOPIC_ARN": TOPIC}))["alerts"]
    assert isinstance(block, SnsNotification)
    assert block.topic_arn == TOPIC
    assert "alerts" not in dict(make_blocks(DESCRIBED))


def test_a_wrong_arn_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"ALERT_TOPIC_ARN: this is not the ARN.*Remedy"):
        list(make_blocks(DESCRIBED | {"ALERT_TOPIC_ARN": "arn:aws:sqs:eu-west-1:123456789012:queue"}))


async def test_it_saves_and_loads_back_equal(prefect_server: object) -> None:
    environment = DESCRIBED | {"ALERT_TOPIC_ARN": TOPIC}
    try:
        assert "created millrace-sns/alerts" in await bootstrap(environment)
        assert "unchanged millrace-sns/alerts" in await bootstrap(environment)
        loaded: SnsNotification = await SnsNotification.aload("alerts")
        assert loaded.topic_arn == TOPIC
    finally:
        await SnsNotification.adelete("alerts")
