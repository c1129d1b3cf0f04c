"""The MongoDB block: documents come through it, and what goes wrong is said clearly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingTCPServer

import pytest
from pydantic import SecretStr, ValidationError
from pymongo.errors import AutoReconnect, NotPrimaryError, OperationFailure

from millrace.base.errors import ConfigurationError, FatalError, RetryableError, Unreachable
from millrace.blocks.mongo import MongoDB
from millrace.drivers.mongo_client import mongo_errors
from tests.support.old_mongo import start_old_mongo

SECRET = "s3cr3t-W0rd"


async def test_documents_come_through(mongo_url: str, mongo_database: str) -> None:
    client = MongoDB(url=SecretStr(mongo_url)).get_client()
    await client[mongo_database]["trades"].insert_one({"_id": 1, "price": 5})
    assert [document async for document in client[mongo_database]["trades"].find()] == [{"_id": 1, "price": 5}]
    client.close()


async def test_a_server_that_answers_passes_the_check(mongo_url: str) -> None:
    await MongoDB(url=SecretStr(mongo_url)).check()


async def test_documentdb_before_5_is_refused_by_its_name() -> None:
    """Versions 3.6 and 4.0 report wire version 7 at most, 5.0 reports 13."""
    with closing_server(start_old_mongo(7)) as port:
        block = MongoDB(url=SecretStr(f"mongodb://127.0.0.1:{port}/"), server_selection_timeout_seconds=5)
        with pytest.raises(ConfigurationError, match=r"wire version 7.*Remedy: upgrade .* Amazon DocumentDB 5\.0"):
            await block.check()
    with closing_server(start_old_mongo(13)) as port:
        await MongoDB(url=SecretStr(f"mongodb://127.0.0.1:{port}/")).check()


@contextmanager
def closing_server(server: ThreadingTCPServer) -> Iterator[int]:
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
async def test_a_wrong_host_is_unreachable_soon_and_says_so(host: str) -> None:
    block = MongoDB(url=SecretStr(f"mongodb://reader:{SECRET}@{host}/"), server_selection_timeout_seconds=0.5)
    with pytest.raises(Unreachable) as raised:
        await block.check()
    assert host.split(":", maxsplit=1)[0] in str(raised.value)
    assert "Remedy: see that the server runs" in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (f"http://reader:{SECRET}@h/", {}),
        (f"mongodb://reader:{SECRET}@/", {}),
        (f"mongodb://reader:{SECRET}@h:port/", {}),
        (f"mongodb://reader:{SECRET}@h/?tls=perhaps", {}),
        (f"mongodb://reader:{SECRET}@h/?tsl=true", {}),
        (f"mongodb://reader:{SECRET}@h/", {"tls": True, "tls_ca_file": "/no/such/file.pem"}),
    ],
)
def test_a_wrong_url_or_option_is_a_matter_of_configuration(url: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="Remedy: correct the URL and options") as raised:
        MongoDB(url=SecretStr(url), **options).get_client()
    assert SECRET not in str(raised.value)


async def test_options_for_documentdb_reach_the_driver() -> None:
    block = MongoDB(url=SecretStr("mongodb://h/"), tls=True, retry_writes=False, socket_timeout_seconds=7)
    client = block.get_client()
    options = client.delegate.options
    assert options.retry_writes is False
    assert options.pool_options.socket_timeout == 7
    assert options.pool_options._ssl_context is not None
    client.close()


def test_a_timeout_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="socket_timeout_seconds"):
        MongoDB(url=SecretStr("mongodb://h/"), socket_timeout_seconds=0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AutoReconnect("connection closed"), Unreachable),
        (NotPrimaryError(f"ended {SECRET}", {"errmsg": f"ended {SECRET}", "code": 11602}), Unreachable),
        (OperationFailure(f"$convert: '{SECRET}' is no date", 241, {"codeName": "ConversionFailure"}), FatalError),
        (OperationFailure("Authentication failed.", 18), ConfigurationError),
        (OperationFailure("not authorized on finance", 13), ConfigurationError),
        (OperationFailure("operation exceeded time limit", 50), RetryableError),
        (OperationFailure("x", 1, {"errorLabels": ["TransientTransactionError"]}), RetryableError),
        (OperationFailure(f"duplicate key {{ name: '{SECRET}' }}", 11000, {"codeName": "DuplicateKey"}), FatalError),
    ],
)
def test_errors_of_the_driver_become_the_engines(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected, match="stream trades") as raised, mongo_errors("stream trades"):
        raise error
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None
    assert type(raised.value) is expected


async def test_a_real_servers_refusal_is_fatal_and_shows_no_value(mongo_url: str, mongo_database: str) -> None:
    client = MongoDB(url=SecretStr(mongo_url)).get_client()
    collection = client[mongo_database]["trades"]
    await collection.insert_one({"_id": SECRET})
    with pytest.raises(FatalError, match="11000") as raised, mongo_errors("stream trades"):
        await collection.insert_one({"_id": SECRET})
    assert SECRET not in str(raised.value)
    client.close()
