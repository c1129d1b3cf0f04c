"""Servers and fresh places on them, for every test that asks: real ones, started once per session."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from local.stack import Stack


def unique(prefix: str) -> str:
    """A name nobody else has."""
    return f"{prefix}_{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Postgres, MongoDB, AWS and the Redshift stand-in; no Prefect server."""
    with Stack(prefect=False) as running:
        yield running


@pytest.fixture
def aws_environment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The emulator's AWS_* variables, set for this test."""
    variables = stack.aws.environment()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def postgres_database(stack: Stack) -> Iterator[str]:
    """The ``postgresql://`` URL of an empty database, dropped afterwards."""
    name = unique("source")
    yield stack.postgres.create_database(name)
    stack.postgres.drop_database(name)


@pytest.fixture
def warehouse_url(stack: Stack) -> str:
    """The ``redshift+psycopg2://`` URL of the warehouse, which is empty now."""
    stack.warehouse.clear()
    return stack.warehouse.url


@pytest.fixture
def mongo_url(stack: Stack) -> str:
    """The server's URL."""
    return stack.mongo.url


@pytest.fixture
def mongo_database(stack: Stack) -> Iterator[str]:
    """The name of a database that is not there yet, dropped afterwards. Its server: ``mongo_url``."""
    name = unique("source")
    yield name
    stack.mongo.drop_database(name)


@pytest.fixture
def bucket(stack: Stack) -> str:
    """The name of an empty bucket."""
    return stack.aws.create_bucket(unique("bucket").replace("_", "-"))
