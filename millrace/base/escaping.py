"""Escape text of unknown origin before people see it: characters that control a terminal or hide others.

Keys, field names and messages come from sources and from servers. An escape sequence in them would reach the terminal
of the person who reads them, a newline would forge a line, and a bidirectional override would show what is not there.
"""

from __future__ import annotations

import json
import re

_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>()#|~!&]")


def escape_unprintable(text: object, keep: str = "") -> str:
    r"""Escape characters of ``str(text)`` that cannot be printed as Python does (``\x1b``, ``\u202e``, ``\n``).

    Characters in ``keep`` stay.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        character if character.isprintable() or character in keep else repr(character)[1:-1] for character in shown
    )


def escape_json(document: str) -> str:
    """Return a JSON document of the same meaning with characters that cannot be printed escaped as in JSON."""
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1]
        for character in document
    )


def escape_markdown(text: object) -> str:
    """Escape ``text`` for a line of Markdown or a cell of a table: no link, no markup, no further cell."""
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", escape_unprintable(text))


def markdown_code_block(text: str, language: str = "") -> str:
    """Return a Markdown code block whose fence is longer than any in ``text``."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{escape_unprintable(text, keep=chr(10) + chr(9))}\n{fence}"
