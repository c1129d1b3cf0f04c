"""Statements that stand as text in the log of MySQL and MariaDB, and which tables they may have changed.

The log tells the rows of changes, and of everything else the statement. No parser of SQL decides here: a definition
that names a table counts as a change of it, and any other statement as a change of every table. That costs a comparison
of the table at worst.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import cached_property
from struct import Struct

from millrace.change_logs.binlog_rows import decompress

QUERY, COMPRESSED_QUERY = 2, 165
_HEADER = Struct("<IIBHH")
"""Session, seconds, length of the database's name, error, length of the variables."""
_COMMENT = re.compile(r"/\*(?!M?!).*?\*/|(?<![^\s,;()])(?:--(?=\s)|#)[^\n]*", re.DOTALL)
_EXECUTED_COMMENT = re.compile(r"/\*M?!\d*|\*/")
_IDENTIFIER = re.compile(r"`((?:[^`]|``)+)`|\"((?:[^\"]|\"\")+)\"|([\w$]+)")
_BEGIN = re.compile(r"(BEGIN|START\s+TRANSACTION|XA\s+(START|BEGIN))\b", re.I)
_WITHIN = re.compile(r"(SAVEPOINT|ROLLBACK\s+(WORK\s+)?TO|RELEASE\s+SAVEPOINT|XA\s+END)\b", re.I)
_END = re.compile(r"(COMMIT|ROLLBACK)\b", re.I)
_XA_END = re.compile(r"XA\s+(COMMIT|ROLLBACK)\s+(\S+)", re.I)
_SCHEMA = re.compile(r"(CREATE|ALTER|DROP)\s+(DATABASE|SCHEMA)\b", re.I)
_DEFINITION = re.compile(r"(CREATE|ALTER|DROP|RENAME|TRUNCATE|OPTIMIZE|REPAIR)\b", re.I)
_HARMLESS = re.compile(
    r"(GRANT|REVOKE|FLUSH|SET\s+PASSWORD|ANALYZE\s+((NO_WRITE_TO_BINLOG|LOCAL)\s+)?TABLES?|RENAME\s+USER|"
    r"(CREATE|ALTER|DROP)\s+((OR\s+REPLACE|DEFINER\s*=\s*\S+|ALGORITHM\s*=\s*\w+|SQL\s+SECURITY\s+\w+|AGGREGATE|UNIQUE|"
    r"FULLTEXT|SPATIAL)\s+)*(INDEX|VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT|USER|ROLE|SERVER|TEMPORARY\s+TABLE))\b",
    re.I,
)
"""Statements that change no row of a table. What a trigger or a procedure changes later, the log tells by itself."""
_OF_THE_SYSTEM = re.compile(r"(INSERT|REPLACE|DELETE|UPDATE)\s+((IGNORE|INTO|FROM)\s+)*`?mysql`?\s*\.", re.I)
"""Changes of tables of the server, such as the heartbeat that RDS writes every five minutes."""


class Role(Enum):
    """What a statement is for the transaction in which it stands."""

    BEGIN = "begin"
    """It begins a transaction."""
    WITHIN = "within"
    """It neither ends the transaction nor changes a row."""
    END = "end"
    """It ends the transaction."""
    XA_END = "xa end"
    """It commits a transaction that was prepared before, or rolls it back."""
    CHANGE = "change"
    """It may change rows that the log does not tell."""


class LoggedStatement:
    """A statement in the log, from the body of its event."""

    def __init__(self, kind: int, body: bytes) -> None:
        _, _, schema_bytes, _, variable_bytes = _HEADER.unpack_from(body)
        begin = _HEADER.size + variable_bytes
        text = body[begin + schema_bytes + 1 :]
        self._schema = body[begin : begin + schema_bytes].decode(errors="replace")
        self._bytes = decompress(text) if kind == COMPRESSED_QUERY else text

    @cached_property
    def text(self) -> str:
        """The statement without comments. Bytes that are not UTF-8 are U+FFFD."""
        text = _COMMENT.sub(" ", self._bytes.decode(errors="replace"))
        return _EXECUTED_COMMENT.sub(" ", text).strip()

    @cached_property
    def role(self) -> Role:
        """What it is for its transaction."""
        of_patterns = ((_BEGIN, Role.BEGIN), (_WITHIN, Role.WITHIN), (_XA_END, Role.XA_END), (_END, Role.END))
        return next((role for pattern, role in of_patterns if pattern.match(self.text)), Role.CHANGE)

    @property
    def verb(self) -> str:
        """Its first word."""
        return self.text.partition(" ")[0].upper()[:20]

    @property
    def xa(self) -> tuple[bool, str]:
        """Whether it commits the prepared transaction, and the name of that."""
        match = _XA_END.match(self.text)
        return bool(match and match[1].upper() == "COMMIT"), match[2].lower() if match else ""

    def may_change(self, schema: str, table: str) -> bool:
        """Return whether it may have changed rows of a table, or the form of the table."""
        if self.role is not Role.CHANGE or _HARMLESS.match(self.text) or _OF_THE_SYSTEM.match(self.text):
            return False
        if _SCHEMA.match(self.text):
            return self._names(schema)
        return self._names(table) or not _DEFINITION.match(self.text)

    def _names(self, name: str) -> bool:
        """Return whether a name stands in it. Names of other encodings cannot be told: they count as any name."""
        wanted = name.casefold()
        found = (next(filter(None, match)) for match in _IDENTIFIER.findall(self.text))
        return "\ufffd" in self.text or any(
            each.replace("``", "`").replace('""', '"').casefold() == wanted for each in found
        )
