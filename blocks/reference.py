"""Blocks that hold, in the place of a URL, the name of the environment variable in which flows find it.

So the secret is kept in one place (Secrets Manager, from which ECS hands it to a task), Prefect does not store it, and
a new value is used from the next run on. Where a URL is expected, ``${VARIABLE}`` is such a reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from prefect.blocks.core import Block

_REFERENCE = re.compile(r"\$\{(\w+)\}")


def reference(variable: str) -> str:
    """Return the text that stands in the place of a URL: ``${VARIABLE}``."""
    return f"${{{variable}}}"


class MakeBlock(Protocol):
    """A function that makes a block from a URL."""

    def __call__(self, url: str, *, place: str) -> Block:
        """Return the block. Raises ConfigurationError, naming ``place``, if the URL is wrong."""
        ...


@dataclass(frozen=True)
class UrlBlock:
    """A type of block that holds a URL, or a reference in its place."""

    block_type: type[Block]
    make_from_url: MakeBlock
    make_from_reference: Callable[[str], Block]
    """Makes a block that holds a reference. Where the type allows it, Prefect's UI shows the reference."""
    read_text: Callable[[Any], str]
    """Returns the text that a block of the type has in the place where its reference would be."""

    def make(self, url: str, *, place: str) -> Block:
        """Return a block for a URL or a reference. Raises ConfigurationError, naming ``place``, if the URL is wrong."""
        return self.make_from_reference(url) if _REFERENCE.fullmatch(url) else self.make_from_url(url, place=place)

    def find_variable(self, block: Block) -> str | None:
        """Return the variable that a block of the type refers to; None if it holds its URL itself."""
        match = _REFERENCE.fullmatch(self.read_text(block))
        return match[1] if match else None
