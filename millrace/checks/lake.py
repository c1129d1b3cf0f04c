"""Checks of a bucket of the lake: where it is, and whether an object is written, or replaced, once and not twice."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from millrace.base.errors import ConfigurationError, FatalError
from millrace.checks.check import Check
from millrace.lake.batch import SCANS
from millrace.lake.store import ChangingObjects, ObjectStore


@dataclass(frozen=True)
class Bucket:
    """A bucket of the lake."""

    place: str
    """How outcomes name it: ``landing``."""
    store: ObjectStore
    region: Callable[[], str]
    """Returns the region of the bucket."""
    wanted_region: str
    """The region in which runs use it; '' if they do not say."""
    changing: ChangingObjects
    """The store of the bucket, for objects that are replaced: leases and states."""

    def checks(self) -> list[Check]:
        """Return the checks of the bucket, in order."""
        return [
            Check(self.place, "bucket", "Finds the bucket and its region.", self._find, True),
            Check(self.place, "write", "Writes an object and reads it.", self._write),
            Check(self.place, "write once", "Sees that a second write of a key is refused.", self._write_twice),
            Check(self.place, "replace", "Sees that an object is replaced by one of two writers.", self._replace_twice),
        ]

    def _find(self) -> str:
        region = self.region()
        if self.wanted_region and region != self.wanted_region:
            raise ConfigurationError(
                f"the bucket is in {region}, and runs ask in {self.wanted_region}",
                remedy=f"set AWS_DEFAULT_REGION={region}, or name a bucket in {self.wanted_region}",
            )
        return f"{self.store.uri('*').removesuffix('/*')} in {region}"

    def _write(self) -> str:
        key, content = self._key(), secrets.token_bytes(16)
        self.store.put_bytes(content, key)
        if self.store.get_bytes(key) != content:
            raise FatalError("an object was read with other content than was written", remedy="see what the bucket is")
        return "an object was written and read"

    def _write_twice(self) -> str:
        key = self._key()
        self.store.put_bytes(b"first", key)
        try:
            self.store.put_bytes(b"second", key)
        except FatalError:
            return "a second write of a key is refused"
        raise ConfigurationError(
            "a second write replaced an object: the store does not know conditional writes (If-None-Match)",
            remedy="use S3, or a store that knows them: without them two runs can overwrite each other's files",
        )

    def _replace_twice(self) -> str:
        key = self._key()
        self.changing.replace_version(key, b"first", None)
        found = self.changing.find_version(key)
        version = found.version if found else None
        if self.changing.replace_version(key, b"second", version):
            if not self.changing.replace_version(key, b"third", version):
                return "an object is replaced by whoever read its last version, and by nobody else"
            raise ConfigurationError(
                "two writers replaced one version of an object: the store does not know If-Match",
                remedy="use S3, or a store that knows it, or set WAREHOUSE_LEASES=warehouse: without it two runs can "
                "get one lease",
            )
        raise ConfigurationError(
            "an object cannot be replaced by whoever read its last version",
            remedy="see that the role may read and write, or set WAREHOUSE_LEASES=warehouse",
        )

    @staticmethod
    def _key() -> str:
        """Return a key that nobody has, where the rule of the bucket deletes objects after a week."""
        return f"{SCANS}/check-{secrets.token_hex(8)}"
