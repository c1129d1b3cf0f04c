"""S3 for COPY and UNLOAD: locations, manifests, prefixes, and errors in the words of AWS."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.redshift.errors import INTERNAL_ERROR, RedshiftError


@dataclass(frozen=True)
class S3Object:
    """An object to be loaded; ``length_bytes`` is its length in the manifest, or None."""

    url: str
    length_bytes: int | None = None

    @property
    def place(self) -> dict[str, str]:
        """Bucket and Key, the arguments of boto3."""
        bucket, _, key = self.url.removeprefix("s3://").partition("/")
        return {"Bucket": bucket, "Key": key}


class Storage:
    """One S3 service. Credentials come from the AWS_* environment; roles in statements are not assumed."""

    def __init__(self, endpoint_url: str) -> None:
        self._client: Any = boto3.client("s3", endpoint_url=endpoint_url)

    def objects(self, location: str) -> list[S3Object]:
        """Return the objects whose keys start with the location."""
        place = S3Object(location).place
        with _service_errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=place["Bucket"], Prefix=place["Key"])
            keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        if not keys:
            raise RedshiftError(INTERNAL_ERROR, f"The specified S3 prefix '{place['Key']}' does not exist")
        return [S3Object(f"s3://{place['Bucket']}/{key}") for key in keys]

    def manifest(self, location: str) -> list[S3Object]:
        """Return the objects that a manifest names, without missing ones that are not mandatory."""
        entries = _entries(self._read(location))
        found = [item for entry in entries if (item := self._entry(entry)) is not None]
        if not found:
            raise RedshiftError(
                INTERNAL_ERROR, "The manifest names no file that exists", rule="COPY ends when no files are found"
            )
        return found

    def _read(self, location: str) -> bytes:
        place = S3Object(location).place
        with _service_errors():
            try:
                content: bytes = self._client.get_object(**place)["Body"].read()
            except self._client.exceptions.NoSuchKey:
                content = b""
        if not content:
            raise RedshiftError(INTERNAL_ERROR, f"The specified S3 prefix '{place['Key']}' does not exist")
        return content

    def _entry(self, entry: dict[str, Any]) -> S3Object | None:
        item = S3Object(entry["url"], _content_length(entry))
        actual = self.length_of(item)
        if actual is None and not entry.get("mandatory", False):
            return None
        if actual is None:
            raise RedshiftError(
                INTERNAL_ERROR, f"The file {item.url} in the manifest does not exist", rule="manifest: mandatory files"
            )
        if item.length_bytes != actual:
            raise _fetch_error(f"HTTP response error code: 416 Message: content_length of {item.url} is not its size")
        return item

    def length_of(self, item: S3Object) -> int | None:
        """Return the object's size in bytes; None if there is no such object."""
        try:
            return int(self._client.head_object(**item.place)["ContentLength"])
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return None
            raise _service_error(error) from error
        except BotoCoreError as error:
            raise _service_error(error) from error

    @contextmanager
    def open(self, item: S3Object) -> Iterator[IO[bytes]]:
        """Open a temporary file with the object's content."""
        with tempfile.TemporaryFile() as file:
            with _service_errors():
                # In one request: a transfer of boto3 asks for the size first and starts threads, 5 ms for any file.
                shutil.copyfileobj(self._client.get_object(**item.place)["Body"], file)
            file.seek(0)
            yield file

    def write(self, url: str, file: IO[bytes]) -> None:
        """Store the file's content."""
        with _service_errors():
            self._client.upload_fileobj(file, **S3Object(url).place)


def _entries(content: bytes) -> list[dict[str, Any]]:
    try:
        entries: list[dict[str, Any]] = json.loads(content)["entries"]
        if all(entry["url"].startswith("s3://") for entry in entries):
            return entries
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RedshiftError(INTERNAL_ERROR, "Manifest file is not in correct json format") from error
    raise RedshiftError(INTERNAL_ERROR, "Manifest file is not in correct json format", rule="url is s3://bucket/key")


def _content_length(entry: dict[str, Any]) -> int:
    length = entry.get("meta", {}).get("content_length")
    if not isinstance(length, int):
        raise _fetch_error("code: 15003 File has no content_length in the manifest")
    return length


def _fetch_error(context: str) -> RedshiftError:
    return RedshiftError(
        INTERNAL_ERROR,
        "S3 Query Exception (Fetch)",
        detail=context,
        rule="manifest for Parquet: meta.content_length is required and is the file's size in bytes",
    )


def _service_error(error: Exception) -> RedshiftError:
    detail = error.response["Error"] if isinstance(error, ClientError) else {"Message": str(error), "Code": "Network"}
    return RedshiftError(
        INTERNAL_ERROR, f"S3ServiceException:{detail.get('Message')},Error {detail.get('Code')}", detail=str(error)
    )


@contextmanager
def _service_errors() -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise _service_error(error) from error
