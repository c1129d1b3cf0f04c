"""Checks of a source with documents: MongoDB and Amazon DocumentDB."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

from millrace.base.errors import ConfigurationError, MillraceError, SourceMissing
from millrace.checks.check import Check
from millrace.checks.server import Server
from millrace.checks.tables import LAG_LIMIT, compare_clocks
from millrace.declaration.stream import Stream
from millrace.drivers.mongo_client import MongoClient, mongo_errors
from millrace.sources.mongo import MongoSource, find_shown_until
from millrace.sources.position import whole_seconds

Answer = TypeVar("Answer")
NO_RIGHT = "not authorized"


@dataclass(frozen=True)
class DocumentServer:
    """A server with documents that streams are read from."""

    server: Server
    open_client: Callable[[], MongoClient]
    streams: Sequence[Stream]

    def checks(self) -> list[Check]:
        """Return the checks of the server, in order."""
        place = self.server.place
        read = Check(place, "collections", "Reads from every declared collection.", self._read)
        return [
            *self.server.checks(),
            Check(place, "login", "Logs in and asks for the version.", self._login, True),
            *([read] if self.streams else []),
            Check(place, "replica", "Asks which member answers, and how far behind.", self._find_lag),
            Check(place, "clock", "Compares its clock with this machine's.", self._compare_clocks),
        ]

    def _login(self) -> str:
        async def ask(client: MongoClient) -> dict[str, Any]:
            answer: dict[str, Any] = await client.admin.command("buildInfo")
            await client.admin.command("ping")
            return answer

        try:
            found = self._ask(ask)
        except MillraceError as error:
            raise self.server.correct_credentials(error) from None
        return f"{_title(self.server.host)} {found.get('version', 'of unknown version')}, as {self.server.user}"

    def _read(self) -> str:
        async def read(client: MongoClient) -> None:
            for stream in self.streams:
                schema, name = stream.reference.schema, stream.reference.name
                if name not in await client[schema].list_collection_names():
                    raise SourceMissing(
                        f"there is no collection {schema}.{name}", remedy="create it, or correct the stream's source"
                    )
                await client[schema][name].find_one({}, {"_id": 1})

        try:
            self._ask(read)
        except ConfigurationError as error:
            if error.problem != NO_RIGHT:
                raise
            databases = sorted({stream.reference.schema for stream in self.streams})
            roles = ", ".join(f'{{role: "read", db: "{name}"}}' for name in databases)
            remedy = f'`db.grantRolesToUser("{self.server.user}", [{roles}])`'
            raise ConfigurationError(error.problem, remedy=remedy) from None
        return f"{len(self.streams)} collections can be read"

    def _find_lag(self) -> str:
        read_at, shown_until, note, is_primary = self._member
        if note:
            raise ConfigurationError(note, remedy=f"set readPreference=primary in {self.server.variable}")
        behind = max(read_at - shown_until, timedelta(0))
        if behind > LAG_LIMIT and not is_primary:
            raise ConfigurationError(
                f"a secondary that is {whole_seconds(behind)} behind its primary",
                remedy=f"set readPreference=primary in {self.server.variable}",
            )
        return "the primary" if is_primary else f"a secondary, {whole_seconds(behind)} behind its primary"

    def _compare_clocks(self) -> str:
        return compare_clocks(self._member[0], self.server.place)

    @cached_property
    def _member(self) -> tuple[datetime, datetime, str, bool]:
        """The time of the member that answers reads, when its newest write was made, a note, and whether it leads."""

        async def ask(client: MongoClient) -> tuple[datetime, datetime, str, bool]:
            hello = await MongoSource(client).ask_hello()
            until, note = find_shown_until(hello, client)
            is_primary = bool(hello.get("isWritablePrimary", hello.get("ismaster", False)))
            return hello["localTime"].replace(tzinfo=UTC), until, note, is_primary

        return self._ask(ask)

    def _ask(self, question: Callable[[MongoClient], Awaitable[Answer]]) -> Answer:
        async def ask() -> Answer:
            with mongo_errors(self.server.place), closing(self.open_client()) as client:
                return await question(client)

        return asyncio.run(ask())


def _title(host: str) -> str:
    return "Amazon DocumentDB" if ".docdb." in host else "MongoDB"
