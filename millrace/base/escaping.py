"""Text of unknown origin as people may see it: characters that a terminal obeys, or that hide others, are escaped.

Keys, field names and messages come from sources and from servers. An escape sequence among them would reach the
terminal of the person who looks, a newline would forge a line, and a bidirectional override shows what is not there.
"""

from __future__ import annotations

import json
import re

_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>()#|~!&]")


def escape_unprintable(text: object, keep: str = "") -> str:
    """``str(text)`` with every character that cannot be printed escaped as in Python (``\\x1b``, ``\\u202e``, ``\\n``),
    but for those in ``keep``."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(one if one.isprintable() or one in keep else repr(one)[1:-1] for one in shown)


def escape_json(document: str) -> str:
    """A JSON document whose texts hold no such character in the clear; what it means stays the same."""
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in document)


def escape_markdown(text: object) -> str:
    """``text`` for a line of Markdown or a cell of its tables: no link, no markup, no other cell."""
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", escape_unprintable(text))


def markdown_code_block(text: str, language: str = "") -> str:
    """A block of code, fenced so that nothing in it ends the block."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{escape_unprintable(text, keep=chr(10) + chr(9))}\n{fence}"
