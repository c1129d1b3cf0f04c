"""Let statements fail in the Redshift stand-in."""

from __future__ import annotations

import json
from contextlib import closing

from tests.support.engine import Engine


def inject(engine: Engine, statement: str, action: str, nth: int = 1) -> None:
    """Let the nth such statement from now on fail."""
    command(engine, f"STANDIN INJECT '{json.dumps({'statement': statement, 'nth': nth, 'action': action})}'")


def command(engine: Engine, text: str) -> None:
    """Give a command to the stand-in itself; not in a transaction, whose commit would count."""
    with closing(engine.connect_warehouse()) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(text)
