"""Blocks that hold, in the place of a URL, the name of the environment variable in which flows find it.

So the secret is kept in one place (Secrets Manager, from which ECS hands it to a task), Prefect does not store it, and
a new value is used from the next run on. Where a URL is expected, ``${VARIABLE}`` is such a reference.
"""

from __future__ import annotations

import re

from prefect.blocks.core import Block
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pydantic import SecretStr

from millrace.blocks.connector import POSTGRES_DRIVER
from millrace.blocks.mongo import MongoDB

_REFERENCE = re.compile(r"\$\{(\w+)\}")


def reference(variable: str) -> str:
    """Return the text that stands in the place of a URL: ``${VARIABLE}``."""
    return f"${{{variable}}}"


def is_reference(url: str) -> bool:
    """Return whether a text is a reference to a variable in the place of a URL."""
    return _REFERENCE.fullmatch(url) is not None


def referring(kind: type[Block], url: str) -> Block:
    """Return a block of this type with a reference in the place of its URL.

    Where the type allows it, Prefect's UI shows the reference.
    """
    if kind is MongoDB:
        return MongoDB(url=SecretStr(url))
    # Of a URL nobody knows yet the driver is not known either; it is that of the URL once it is there.
    connector: Block = SqlAlchemyConnector(connection_info=ConnectionComponents(driver=POSTGRES_DRIVER, database=url))
    return connector


def variable_of(block: Block) -> str | None:
    """Return the variable that a block refers to; None if it holds its URL itself."""
    if isinstance(block, MongoDB):
        url = block.url.get_secret_value()
    elif isinstance(block, SqlAlchemyConnector) and isinstance(block.connection_info, ConnectionComponents):
        url = block.connection_info.database
    else:
        return None
    match = _REFERENCE.fullmatch(url)
    return match[1] if match else None
