"""Names: how a field of a source becomes a column, and the only place where identifiers are quoted.

docs/naming.md defines the grammar. Names from sources are untrusted: they are normalised to ``[a-z0-9_]`` before they
become columns, and quoted wherever they become SQL.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from millrace.base.errors import ConfigurationError

MAX_IDENTIFIER_BYTES = 63
"""The limit of Postgres (Redshift's is 127). Postgres cuts longer names silently, so they are never sent."""
MAX_NAME_BYTES = MAX_IDENTIFIER_BYTES - 10
"""The limit of names that people choose: names that are made from them are longer."""
DIGEST_CHARACTERS = 8

ROW_HASH, LOADED_AT, DELETED_AT, VERSION = "_row_hash", "_loaded_at", "_deleted_at", "_version"
VERSION_HASH = "_version_hash"
ROW_ID = "_identity"
"""Column of files in the lake, never of a target. It identifies a physical row of the source: two rows with one key and
one row id are one row that was read twice."""
MESSAGE_ADDRESS = "_message"
"""Column of frames, never of a target: the address of a message in the lake."""
SYSTEM_COLUMNS = frozenset({"ctid", "cmin", "cmax", "xmin", "xmax", "tableoid", "oid", "insertxid", "deletexid"})
"""Hidden columns of every table in a warehouse (the last three only in Redshift): a table cannot have a column of such
a name."""
ELEMENTS_PREFIX = "elements:"
"""What the columns of frames begin with, never of a target, that hold an array as the source has it."""
ADDED_COLUMNS = frozenset({ROW_HASH, LOADED_AT, DELETED_AT, VERSION, VERSION_HASH, ROW_ID, MESSAGE_ADDRESS})
"""Columns that Millrace adds."""
RESERVED = SYSTEM_COLUMNS | ADDED_COLUMNS
"""Names that no field of a source may have as a column; such a field gets a digest at the end of its name."""

_LOWER_THEN_UPPER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_ALLOWED = re.compile(r"[^a-z0-9_]+")
_DECLARED = re.compile(r"[a-z_][a-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x1f]")


def column_name(path: str) -> str:
    """Return the column for a column or a dotted path of a source.

    ``details.asks`` becomes ``details_asks``, ``updatedAt`` becomes ``updated_at``. A name that is empty, reserved or
    too long gets a digest of the path, so that it stays unique.
    """
    snake = _NOT_ALLOWED.sub("_", _LOWER_THEN_UPPER.sub("_", path).lower())
    if not snake.strip("_"):
        return f"field_{_digest(path)}"
    name = f"_{snake}" if snake[0].isdigit() else snake
    if len(name) > MAX_IDENTIFIER_BYTES or name in RESERVED:
        return _with_digest(name, path)
    return name


def column_names(paths: Iterable[str], existing: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the column of each path, in the order of ``paths``.

    A path whose column another path has gets a digest of the path at the end of its name. ``existing`` maps paths to
    the columns that they already have; these stay. Of new paths that collide, one that is itself the column name keeps
    it, so that the result does not depend on the order in which fields appear.
    """
    ordered, names = list(paths), dict(existing or {})
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


def elements_column(path: str) -> str:
    """Return the column of frames with the array at a path as the source has it. No field has a column of its name."""
    return f"{ELEMENTS_PREFIX}{path}"


def distinct_column_name(path: str) -> str:
    """Return the column for a path if another path has the column that ``column_name`` returns."""
    return _with_digest(column_name(path), path)


def check_name(name: str, what: str) -> str:
    """Raise ConfigurationError unless ``name`` follows the grammar of names that people choose.

    ``what`` says what it names (a pipeline, a stream, a target). Return ``name``.
    """
    if not _DECLARED.fullmatch(name) or len(name) > MAX_NAME_BYTES:
        raise ConfigurationError(
            f"{what} {name!r} is not a name",
            remedy="use lower-case letters, digits and underscores, starting with a letter",
        )
    return name


def quote(*identifiers: str) -> str:
    """Quote identifiers for SQL: ``quote("public", 'we"ird')`` returns ``"public"."we""ird"``.

    Raises ConfigurationError for a name that no database accepts.
    """
    return _quoted_by('"', identifiers)


def quote_in_backticks(*identifiers: str) -> str:
    """Quote identifiers for MySQL, in backticks."""
    return _quoted_by("`", identifiers)


def _quoted_by(mark: str, identifiers: Iterable[str]) -> str:
    for identifier in identifiers:
        if not identifier or _CONTROL.search(identifier):
            raise ConfigurationError(
                f"identifier {identifier!r} is empty or contains a control character",
                remedy="rename it in the source, or leave it out of the stream",
            )
    return ".".join(mark + identifier.replace(mark, mark * 2) + mark for identifier in identifiers)


def quote_list(identifiers: Iterable[str], prefix: str = "") -> str:
    """Quote identifiers and join them by commas; ``prefix`` (for example ``s.``) stands before each."""
    return ", ".join(prefix + quote(identifier) for identifier in identifiers)


def literal(text: str) -> str:
    """Return a SQL string literal, for statements that take no parameters (COPY, catalog comments)."""
    if "\x00" in text or "\\" in text:
        raise ConfigurationError("a SQL literal may contain neither NUL nor backslash", remedy="leave them out")
    return "'" + text.replace("'", "''") + "'"


def _with_digest(name: str, path: str) -> str:
    return f"{name[: MAX_IDENTIFIER_BYTES - DIGEST_CHARACTERS - 1]}_{_digest(path)}"


def _digest(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_CHARACTERS]
