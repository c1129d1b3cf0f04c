"""The lake's store: exact bytes, immutable objects, clear errors, in and outside of flows."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect_aws import AwsClientParameters, AwsCredentials
from prefect_aws.s3 import S3Bucket

from local.prefect_server import PrefectServer
from local.processes import LOCALHOST, free_port
from local.stack import Stack
from millrace.base.errors import ConfigurationError, FatalError, SourceMissing, Unreachable
from millrace.blocks.store import BucketStore
from millrace.lake.store import ObjectStore

MULTIPART_BYTES = 9 * 1024 * 1024
"""Above boto3's threshold of 8 MiB."""


def bucket_block(stack: Stack, bucket: str, *, folder: str = "", endpoint_url: str = "") -> S3Bucket:
    environment = stack.aws.environment()
    config = {"retries": {"max_attempts": 1}, "connect_timeout": 1} if endpoint_url else None
    credentials = AwsCredentials(
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_client_parameters=AwsClientParameters(endpoint_url=endpoint_url or stack.aws.url, config=config),
    )
    return S3Bucket(bucket_name=bucket, bucket_folder=folder, credentials=credentials)


@pytest.fixture(params=["", "zone", "/deep/zone/"])
def store(request: pytest.FixtureRequest, stack: Stack, bucket: str) -> ObjectStore:
    return BucketStore(bucket_block(stack, bucket, folder=request.param))


@pytest.fixture
def plain(stack: Stack, bucket: str) -> BucketStore:
    return BucketStore(bucket_block(stack, bucket))


def test_bytes_and_files_come_back_exactly(store: ObjectStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * 3
    (tmp_path / "in").write_bytes(data)
    assert store.put_file(tmp_path / "in", "a/file") == len(data)
    assert store.put_bytes(b"", "a/empty") == 0
    store.get_file("a/file", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    assert store.get_bytes("a/file") == data
    assert store.get_bytes("a/empty") == b""


def test_the_uri_is_where_the_object_is(stack: Stack, store: ObjectStore, bucket: str) -> None:
    store.put_bytes(b"x", "a/b.json")
    key = store.uri("a/b.json").removeprefix(f"s3://{bucket}/")
    assert stack.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"


def test_keys_are_relative_to_the_folder_and_prefixes_are_exact(store: ObjectStore) -> None:
    for key in ("a/2", "a/10", "ab/1", "b"):
        store.put_bytes(b"", key)
    assert list(store.list_keys("a/")) == ["a/10", "a/2"]
    assert list(store.list_keys("a")) == ["a/10", "a/2", "ab/1"]
    assert list(store.list_keys("")) == ["a/10", "a/2", "ab/1", "b"]
    assert list(store.list_keys("nothing")) == []


def test_more_than_a_page_of_keys_is_listed(stack: Stack, plain: BucketStore, bucket: str) -> None:
    client, expected = stack.aws.client("s3"), [f"many/{number:05}" for number in range(1050)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b""), expected))
    assert list(plain.list_keys("many/")) == expected


def test_an_object_is_never_rewritten(store: ObjectStore) -> None:
    store.put_bytes(b"first", "k")
    for other in (b"other", b"longer than the first"):
        with pytest.raises(FatalError, match=r"k: the object exists with other content.*Remedy: write under a new key"):
            store.put_bytes(other, "k")
    assert store.get_bytes("k") == b"first"


def test_the_same_content_again_is_fine(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"same")
    assert [store.put_file(tmp_path / "in", "k"), store.put_bytes(b"same", "k")] == [4, 4]
    assert store.put_file(tmp_path / "in", "k") == 4


def test_a_multipart_object_is_never_rewritten(plain: BucketStore, tmp_path: Path) -> None:
    first, other = b"a" * MULTIPART_BYTES, b"b" * MULTIPART_BYTES
    (tmp_path / "in").write_bytes(first)
    assert plain.put_file(tmp_path / "in", "big") == MULTIPART_BYTES
    assert plain.put_bytes(first, "big") == MULTIPART_BYTES
    with pytest.raises(FatalError, match="other content"):
        plain.put_bytes(other, "big")
    (tmp_path / "other").write_bytes(other)
    with pytest.raises(FatalError, match="other content"):
        plain.put_file(tmp_path / "other", "big")
    assert plain.get_bytes("big") == first


def test_of_many_writers_one_wins(plain: BucketStore) -> None:
    def write(number: int) -> bool:
        try:
            plain.put_bytes(b"%d" % number, "contested")
        except FatalError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(16)))
    assert won.count(True) == 1
    assert plain.get_bytes("contested") == b"%d" % won.index(True)


def test_the_block_itself_may_still_overwrite(stack: Stack, bucket: str) -> None:
    """Prefect's own results are rewritten: the refusal belongs to the lake's client alone."""
    block: Any = bucket_block(stack, bucket)
    BucketStore(block).put_bytes(b"1", "k")
    block.write_path("k", b"2", _sync=True)
    assert block.read_path("k", _sync=True) == b"2"


def test_presence(store: ObjectStore) -> None:
    store.put_bytes(b"", "here")
    assert store.exists("here")
    assert not store.exists("he")


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/", "./a", "../a", "a/../b"])
def test_a_key_that_would_be_bent_is_refused(plain: BucketStore, key: str) -> None:
    for use in (plain.uri, plain.get_bytes, plain.exists, lambda bad: plain.put_bytes(b"", bad)):
        with pytest.raises(FatalError, match="no plain key"):
            use(key)


def test_a_missing_object_and_a_missing_bucket(stack: Stack, plain: BucketStore, tmp_path: Path) -> None:
    for read in (plain.get_bytes, lambda key: plain.get_file(key, tmp_path / "out")):
        with pytest.raises(SourceMissing, match="nothing"):
            read("nothing")
    elsewhere = BucketStore(bucket_block(stack, "no-such-bucket-here"))
    with pytest.raises(SourceMissing, match="the bucket is not there"):
        elsewhere.put_bytes(b"", "k")
    with pytest.raises(SourceMissing, match="the bucket is not there"):
        list(elsewhere.list_keys(""))


def test_no_answer_is_unreachable(stack: Stack) -> None:
    silent = BucketStore(bucket_block(stack, "b", endpoint_url=f"http://{LOCALHOST}:{free_port()}"))
    for use in (silent.get_bytes, silent.exists, lambda key: silent.put_bytes(b"", key)):
        with pytest.raises(Unreachable, match=r"s3://b/k.*Remedy"):
            use("k")


async def test_it_works_from_threads_of_async_flows(plain: BucketStore, prefect_server: PrefectServer) -> None:
    @task(cache_policy=NO_CACHE)
    def write(number: int) -> int:
        return plain.put_bytes(b"x" * number, f"flow/{number}")

    @flow
    async def parent() -> list[int]:
        return list(await asyncio.gather(*(asyncio.to_thread(write, number) for number in (1, 2))))

    assert await parent() == [1, 2]
    assert plain.get_bytes("flow/2") == b"xx"


def test_missing_rights_are_a_matter_of_configuration(plain: BucketStore, stack: Stack, bucket: str) -> None:
    stack.aws.client("s3").put_object(Bucket=bucket, Key="k", Body=b"", StorageClass="GLACIER")
    with pytest.raises(ConfigurationError, match="InvalidObjectState"):
        plain.get_bytes("k")
