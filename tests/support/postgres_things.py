"""A table of things in Postgres, for tests of what a session is asked and answers."""

from __future__ import annotations

from contextlib import closing

from local.stack import Stack
from millrace import Incremental, Stream
from tests.support.engine import Engine

THINGS = Stream("things", "postgres:public.things", "id", Incremental("changed"))
TEXTS = "CREATE TABLE things (id text PRIMARY KEY, body text, changed timestamptz DEFAULT now())"
NUMBERS = "CREATE TABLE things (id int PRIMARY KEY, span interval, changed timestamptz DEFAULT now())"


def url_of_warehouse(stack: Stack, engine: Engine) -> str:
    """The loader's URL of a Postgres warehouse."""
    with closing(engine.connect_warehouse()) as connection:
        return stack.postgres.url(connection.info.dbname, user=connection.info.user)
