"""Every kind of source in turn, and one that the product does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.declaration.source_kinds import SOURCE_KINDS
from tests.extending.sqlite_source import SQLITE
from tests.extending.subjects import MongoSubject, MySQLSubject, PostgresSubject, SQLiteSubject, Subject

TABLES = ("postgres", "mysql", "sqlite")
KINDS = (*TABLES, "mongo")


@pytest.fixture(autouse=True)
def with_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite is a kind of source."""
    monkeypatch.setitem(SOURCE_KINDS, SQLITE.name, SQLITE)


def subject_of(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    match kind:
        case "postgres":
            subject: Subject = PostgresSubject(request.getfixturevalue("postgres_database"), "public")
        case "mysql":
            url: str = request.getfixturevalue("mysql_database")
            subject = MySQLSubject(url, url.rpartition("/")[2])
        case "mongo":
            subject = MongoSubject(request.getfixturevalue("mongo_url"), request.getfixturevalue("mongo_database"))
        case _:
            subject = SQLiteSubject(str(tmp_path / "notes.db"), "main")
    subject.make_table()
    return subject


@pytest.fixture(params=KINDS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    """An empty table of notes in each kind of source."""
    return subject_of(request.param, request, tmp_path)


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    """An empty table of notes in each kind of source that has snapshots."""
    return subject_of(request.param, request, tmp_path)
