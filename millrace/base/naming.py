"""Names: how a source's field becomes a column, and the one place where identifiers are quoted.

The grammar is written out in docs/naming.md. Names from sources are untrusted: they are normalised to
``[a-z0-9_]`` before they become columns and quoted wherever they become SQL.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from millrace.base.errors import ConfigurationError

MAX_IDENTIFIER_BYTES = 63
"""Postgres's limit (Redshift's is 127); longer names are cut there silently, so they are never sent."""
DIGEST_CHARACTERS = 8

ROW_HASH, LOADED_AT, DELETED_AT, VERSION = "_row_hash", "_loaded_at", "_deleted_at", "_version"
VERSION_HASH = "_version_hash"
ROW_ID = "_identity"
"""Of files in the lake only: tells whether two rows of one key are one row of the source that was read twice."""
MESSAGE_ADDRESS = "_message"
"""Of frames only: tells where in the lake a message lies."""
SYSTEM_COLUMNS = frozenset({"ctid", "cmin", "cmax", "xmin", "xmax", "tableoid", "oid", "insertxid", "deletexid"})
"""Of every table of a warehouse, unseen (the last three: of Redshift): no column of that name can be made there."""
ADDED_COLUMNS = frozenset({ROW_HASH, LOADED_AT, DELETED_AT, VERSION, VERSION_HASH, ROW_ID, MESSAGE_ADDRESS})
"""Columns of this program's own."""
RESERVED = SYSTEM_COLUMNS | ADDED_COLUMNS
"""Names that are taken; a source field of that name gets a digest behind it."""

_LOWER_THEN_UPPER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_ALLOWED = re.compile(r"[^a-z0-9_]+")
_DECLARED = re.compile(r"[a-z_][a-z0-9_]*")


def column_name(path: str) -> str:
    """The column for a source column or a dotted path: ``details.asks`` → ``details_asks``,
    ``updatedAt`` → ``updated_at``. Names that are empty, start with a digit or exceed the limit stay unique
    by a digest of the path."""
    snake = _NOT_ALLOWED.sub("_", _LOWER_THEN_UPPER.sub("_", path).lower())
    if not snake.strip("_"):
        return f"field_{_digest(path)}"
    name = f"_{snake}" if snake[0].isdigit() else snake
    if len(name) > MAX_IDENTIFIER_BYTES or name in RESERVED:
        return _with_digest(name, path)
    return name


def column_names(paths: Iterable[str], held: Mapping[str, str] | None = None) -> dict[str, str]:
    """Column per path, in order; a path whose plain name is taken gets a digest of its own path behind it.

    ``held`` are columns given before, by path: they stay. Of new paths that collide, the one that already is a
    plain name keeps it, so that the result does not depend on the order in which fields appear.
    """
    ordered, names = list(paths), dict(held or {})
    new = [path for path in ordered if path not in names]
    used = set(names.values())
    plain = {path: column_name(path) for path in new}
    counted = Counter(plain[path] for path in new)
    for path in sorted(new, key=lambda path: plain[path] != path):
        name = plain[path]
        rivals = counted[name] > 1 and name != path
        names[path] = distinct_column_name(path) if name in used or rivals else name
        used.add(names[path])
    return {path: names[path] for path in ordered}


def distinct_column_name(path: str) -> str:
    """The column for a path whose plain name another path has."""
    return _with_digest(column_name(path), path)


def check_name(name: str, what: str) -> str:
    """``name`` if it follows the grammar for names that people choose (pipelines, streams, targets).

    Raises ConfigurationError otherwise.
    """
    if not _DECLARED.fullmatch(name) or len(name) > MAX_IDENTIFIER_BYTES - 10:
        raise ConfigurationError(
            f"{what} {name!r} is not a name",
            remedy="use lower-case letters, digits and underscores, starting with a letter",
        )
    return name


def quote(*identifiers: str) -> str:
    """``quote("public", 'we"ird')`` → ``"public"."we""ird"``. Raises ConfigurationError for what no database takes."""
    return _quoted_by('"', identifiers)


def quote_in_backticks(*identifiers: str) -> str:
    """The same as MySQL writes it."""
    return _quoted_by("`", identifiers)


def _quoted_by(mark: str, identifiers: Iterable[str]) -> str:
    for identifier in identifiers:
        if not identifier or any(ord(character) < ord(" ") for character in identifier):
            raise ConfigurationError(
                f"identifier {identifier!r} is empty or holds a control character",
                remedy="rename it in the source, or leave it out of the stream",
            )
    return ".".join(mark + identifier.replace(mark, mark * 2) + mark for identifier in identifiers)


def quote_list(identifiers: Iterable[str], prefix: str = "") -> str:
    """Quoted and joined by commas, each behind ``prefix`` (``s.``)."""
    return ", ".join(prefix + quote(identifier) for identifier in identifiers)


def literal(text: str) -> str:
    """A SQL string literal for statements that take no parameters (COPY, catalog comments)."""
    if "\x00" in text or "\\" in text:
        raise ConfigurationError("a SQL literal may hold neither NUL nor backslash", remedy="leave them out")
    return "'" + text.replace("'", "''") + "'"


def _with_digest(name: str, path: str) -> str:
    return f"{name[: MAX_IDENTIFIER_BYTES - DIGEST_CHARACTERS - 1]}_{_digest(path)}"


def _digest(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_CHARACTERS]
