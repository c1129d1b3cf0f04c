"""The lake on prefect-aws's S3Bucket: implements ObjectStore and ChangingObjects of millrace.lake.store.

Every write carries If-None-Match, so that of two writers of one key exactly one writes; the other one is content if the
object is the same, and fails if it is not. An object that changes is replaced with If-Match.

Only the block's upload_*, download_* and its client are used: its read_path and write_path resolve bucket_folder in
another way.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeAlias

from boto3.s3.transfer import TransferConfig
from prefect_aws import AwsCredentials, MinIOCredentials
from prefect_aws.s3 import S3Bucket
from typing_extensions import override

from millrace.base.errors import FatalError, SourceMissing
from millrace.drivers.botocore_errors import ObjectExists, bucket_errors
from millrace.lake.store import ObjectVersion

Credentials: TypeAlias = AwsCredentials | MinIOCredentials

# Without it the block guesses from Prefect's context, and in a thread of an async flow it guesses wrong.
SYNC: dict[str, Any] = {"_sync": True}
UPLOAD = TransferConfig(max_concurrency=4)
"""Parts of 8 MB, so many of which are sent at once."""
ONE_REQUEST_BYTES = UPLOAD.multipart_threshold
"""A smaller object is sent by one request, in this thread: the transfers of boto3 start threads for each."""
CONNECTIONS = 32
"""How many connections to S3 there are at once: for streams and for objects that are fetched side by side."""
USER_AGENT = "millrace-lake"
COMPARED_BYTES = 1024 * 1024


class _QuietBucket(S3Bucket):
    """A bucket that writes no log.

    A run handles hundreds of objects: the block would tell of each in the log of the run, and in an event.
    """

    _block_type_slug = "millrace-lake-bucket"

    @property
    @override
    def logger(self) -> logging.Logger:
        return logging.getLogger(__name__)


class BucketStore:
    """Immutable objects in the bucket (and folder) of an S3Bucket block. Methods block: call them from threads."""

    def __init__(self, bucket: S3Bucket) -> None:
        self._folder = bucket.bucket_folder.strip("/")
        self._bucket = _QuietBucket(
            bucket_name=bucket.bucket_name,
            credentials=_own_client(bucket.credentials),
            bucket_folder=self._folder,
        )

    @property
    def _client(self) -> Any:
        return self._bucket.credentials.get_s3_client()

    @property
    def name(self) -> str:
        """The name of the bucket."""
        return str(self._bucket.bucket_name)

    def region(self) -> str:
        """Return the region of the bucket."""
        with self._errors(""):
            answer = self._client.head_bucket(Bucket=self.name)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return str(answer.get("BucketRegion") or headers.get("x-amz-bucket-region") or "an unknown region")

    def uri(self, key: str) -> str:
        """Return ``s3://bucket/folder/key``."""
        return f"s3://{self.name}/{self._full(key)}"

    def put_file(self, path: Path, key: str) -> int:
        """Store a file, and return its size in bytes."""
        # From its path boto3 reads a little at a time; of a file object it keeps ten parts in memory.
        transfer = partial(self._bucket.upload_from_path, str(path), key, Config=UPLOAD, **SYNC)
        return self._put(transfer, lambda: path.open("rb"), key, path.stat().st_size)

    def put_bytes(self, data: bytes, key: str) -> int:
        """Store bytes, and return their number."""
        transfer = partial(self._bucket.upload_from_file_object, io.BytesIO(data), key, Config=UPLOAD, **SYNC)
        return self._put(transfer, lambda: io.BytesIO(data), key, len(data))

    def get_bytes(self, key: str) -> bytes:
        """Return the whole object, read in one request."""
        with self._errors(key):
            content: bytes = self._get(key)["Body"].read()
        return content

    def get_file(self, key: str, path: Path) -> None:
        """Write the object into a local file."""
        self._full(key)
        # By a transfer also where the object is small: it asks again for what breaks off half-way.
        with self._errors(key):
            self._bucket.download_object_to_path(key, path, **SYNC)

    def exists(self, key: str) -> bool:
        """Return whether there is an object with this key."""
        try:
            self._fetch_head(key)
        except SourceMissing:
            return False
        return True

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Yield all keys that begin with the prefix, in order, with a page of 1,000 in memory at a time."""
        folder = f"{self._folder}/" if self._folder else ""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=folder + prefix)
        with self._errors(prefix):
            for page in pages:
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(folder)

    def find_version(self, key: str) -> ObjectVersion | None:
        """Return an object that changes, with the moments of the store's clock; None if there is none."""
        try:
            with self._errors(key):
                found = self._get(key)
                content: bytes = found["Body"].read()
        except SourceMissing:
            return None
        answered_at = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
        return ObjectVersion(content, found["ETag"], found["LastModified"], answered_at)

    def replace_version(self, key: str, content: bytes, version: str | None) -> bool:
        """Write an object in the place of this version (None: of no object). Return False if another one is there."""
        full_key, condition = self._full(key), {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        _write_only_if_absent(self._client)
        try:
            with self._errors(key):
                self._client.put_object(Bucket=self.name, Key=full_key, Body=content, **condition)
        except (ObjectExists, SourceMissing):
            # boto3 sends a request again whose answer was lost: then this very content is there.
            found = self.find_version(key)
            return found is not None and found.content == content
        return True

    def _full(self, key: str) -> str:
        if not key or key.startswith("/") or PurePosixPath(key).as_posix() != key or ".." in PurePosixPath(key).parts:
            raise FatalError(f"{key!r} is no plain key", place=f"s3://{self.name}", remedy="write a/b/c")
        return f"{self._folder}/{key}" if self._folder else key

    def _get(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self._client.get_object(Bucket=self.name, Key=self._full(key))
        return found

    def _put(
        self, transfer: Callable[[], object], open_source: Callable[[], BinaryIO], key: str, size_bytes: int
    ) -> int:
        full_key = self._full(key)
        # Each time: prefect-aws keeps eight clients and may have made this one again.
        _write_only_if_absent(self._client)
        try:
            with self._errors(key):
                if size_bytes < ONE_REQUEST_BYTES:
                    with open_source() as source:
                        self._client.put_object(Bucket=self.name, Key=full_key, Body=source)
                else:
                    transfer()
        except ObjectExists:
            self._must_be_same(open_source, key, size_bytes)
        return size_bytes

    def _must_be_same(self, open_source: Callable[[], BinaryIO], key: str, size_bytes: int) -> None:
        same_size = self._fetch_head(key)["ContentLength"] == size_bytes
        with open_source() as source:
            same = same_size and _digest(source) == self._read_digest(key)
        if not same:
            raise FatalError(
                "the object exists with other content, and the lake is never rewritten",
                place=self.uri(key),
                remedy="write under a new key",
            )

    def _read_digest(self, key: str) -> bytes:
        with self._errors(key):
            return _digest(self._get(key)["Body"])

    def _fetch_head(self, key: str) -> dict[str, Any]:
        with self._errors(key):
            head: dict[str, Any] = self._client.head_object(Bucket=self.name, Key=self._full(key))
        return head

    def _errors(self, key: str) -> AbstractContextManager[None]:
        return bucket_errors(f"s3://{self.name}/{key}")


def _own_client(credentials: Credentials) -> Credentials:
    # prefect-aws shares one client between equal credentials; ours refuses to overwrite, so it must not be shared
    # with, say, the storage of Prefect's results. The user agent makes the credentials differ.
    parameters = credentials.aws_client_parameters
    config = {**(parameters.config or {}), "user_agent_extra": USER_AGENT, "max_pool_connections": CONNECTIONS}
    with_config = parameters.model_copy(update={"config": config})
    return credentials.model_copy(update={"aws_client_parameters": with_config})


def _write_only_if_absent(client: Any) -> None:
    for operation in ("PutObject", "CompleteMultipartUpload"):
        client.meta.events.register(
            f"provide-client-params.s3.{operation}", _with_condition, unique_id=f"{USER_AGENT}-{operation}"
        )


def _with_condition(params: dict[str, Any], **_: Any) -> dict[str, Any]:
    return params if "IfMatch" in params else {**params, "IfNoneMatch": "*"}


def _digest(stream: Any) -> bytes:
    digest = hashlib.sha256()
    while block := stream.read(COMPARED_BYTES):
        digest.update(block)
    return digest.digest()
