"""CREATE TABLE and ALTER TABLE: translate Redshift's grammar to PostgreSQL's, with only what Redshift enforces.

A key that Redshift does not enforce becomes a check that is always true: it costs nothing, follows its columns through
renames and drops, and tells later statements that the key was declared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from local.redshift.errors import (
    ACTIVE_TRANSACTION,
    NOT_SUPPORTED,
    SYNTAX_ERROR,
    RedshiftError,
    unsupported_here,
)
from local.redshift.lexer import Token, quote_name, quote_string, render
from local.redshift.reserved import HIDDEN_COLUMNS
from local.redshift.stream import TokenStream, split_by_comma
from local.redshift.types import overflow_check, parse_type

ATTRIBUTES = (
    "DEFAULT", "IDENTITY", "GENERATED", "ENCODE", "DISTKEY", "SORTKEY", "NOT", "NULL", "UNIQUE", "PRIMARY",
    "REFERENCES", "COLLATE", "CONSTRAINT", "CHECK",
)  # fmt: skip
INVALID_DEFINITION = "42P16"
DOCUMENT = "pg_catalog.super"
TABLE_CONSTRAINTS = ("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "EXCLUDE")


@dataclass
class ColumnDefinition:
    """A column definition for PostgreSQL."""

    name: str
    type: str
    clauses: list[str] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    has_default: bool = False
    is_dist_key: bool = False
    is_sort_key: bool = False
    encoding: str = ""

    def definition(self) -> str:
        """``name type clauses``."""
        return " ".join([quote_name(self.name), self.type, *self.clauses, overflow_check(self.name, self.type)]).strip()


@dataclass
class TableDesign:
    """How a table is stored on Redshift; the stand-in keeps it, because ALTER TABLE depends on it."""

    dist_key: str = ""
    sort_keys: list[str] = field(default_factory=list)
    encodings: dict[str, str] = field(default_factory=dict)

    def add(self, column: ColumnDefinition) -> None:
        """Take over what a column's definition says."""
        self.dist_key = column.name if column.is_dist_key else self.dist_key
        self.sort_keys += [column.name] if column.is_sort_key else []
        if column.encoding:
            self.encodings[column.name] = column.encoding

    def statements(self, table: str) -> list[str]:
        """Return what records it for a table (quoted) that is there."""
        found = [set_dist_key(table, self.dist_key)] if self.dist_key else []
        found += [set_sort_key(table, self.sort_keys)] if self.sort_keys else []
        return found + [set_encoding(table, column, encoding) for column, encoding in self.encodings.items()]


def set_dist_key(table: str, column: str) -> str:
    """Return the statement that records the distribution key of a table; '' for none."""
    return f"SELECT standin.set_dist_key({quote_string(table)}, {quote_string(column)})"


def set_sort_key(table: str, columns: list[str]) -> str:
    """Return the statement that records the sort key of a table."""
    names = json.dumps(columns, ensure_ascii=False)
    return f"SELECT standin.set_sort_key({quote_string(table)}, {quote_string(names)})"


def set_encoding(table: str, column: str, encoding: str) -> str:
    """Return the statement that records the encoding of a column."""
    values = ", ".join(map(quote_string, (table, column, encoding.lower())))
    return f"SELECT standin.set_encoding({values})"


def declared_key(kind: str, columns: list[str], name: str = "") -> str:
    """Return the constraint of a key that is declared and not enforced."""
    never_false = " OR ".join(f"{quote_name(column)} IS NULL" for column in columns)
    constraint = f"CONSTRAINT {quote_name(name)} " if name else ""
    return f"{constraint}CHECK ('{kind}' <> '' OR {never_false})"


@dataclass
class NewTable:
    """A CREATE TABLE in parts."""

    name: str
    sql: str
    design: TableDesign
    if_not_exists: bool


def create_table(statement: list[Token]) -> NewTable:
    """Return a CREATE TABLE for PostgreSQL, and how the table is stored."""
    stream = TokenStream(statement)
    stream.expect("CREATE")
    stream.accept("LOCAL")
    temporary = stream.accept_any("TEMPORARY", "TEMP")
    stream.expect("TABLE")
    if_not_exists = stream.accept("IF NOT EXISTS")
    table, design = stream.qualified_name(), TableDesign()
    inside = stream.inside_parentheses() if stream.key == "(" else []
    _table_attributes(stream, design)
    head = f"CREATE {temporary} TABLE {'IF NOT EXISTS' if if_not_exists else ''} {table}"
    if stream.accept("AS"):
        sql = f"{head} {'(' + render(inside) + ')' if inside else ''} AS {stream.rest()}"
        return NewTable(table, sql, design, if_not_exists)
    if stream:
        raise RedshiftError(
            SYNTAX_ERROR, f'syntax error at or near "{stream.next().text}"', rule="CREATE TABLE's table attributes"
        )
    return NewTable(table, f"{head} ({', '.join(_elements(inside, design))})", design, if_not_exists)


def _table_attributes(stream: TokenStream, design: TableDesign) -> None:
    while found := stream.accept_any(
        "BACKUP", "DISTSTYLE", "DISTKEY", "SORTKEY AUTO", "SORTKEY NONE", "COMPOUND SORTKEY", "INTERLEAVED SORTKEY",
        "SORTKEY", "ENCODE AUTO",
    ):  # fmt: skip
        if found in ("BACKUP", "DISTSTYLE"):
            stream.next()
        elif found == "DISTKEY":
            (design.dist_key,) = stream.names()
        elif found.endswith("KEY"):
            design.sort_keys = stream.names()


def _elements(inside: list[Token], design: TableDesign) -> list[str]:
    definitions, checks, documents = [], [], set[str]()
    for element in split_by_comma(inside):
        stream = TokenStream(element)
        if stream.key in TABLE_CONSTRAINTS:
            checks += _table_constraint(stream)
        elif stream.accept("LIKE"):
            definitions.append(f"LIKE {_like(stream)}")
        else:
            column = _column(stream)
            definitions.append(column.definition())
            checks += column.checks
            design.add(column)
            documents |= {column.name} if column.type == DOCUMENT else set()
    for name in documents & {design.dist_key, *design.sort_keys}:
        raise RedshiftError(
            NOT_SUPPORTED,
            f'SUPER column "{name}" cannot be a distribution or sort key',
            rule="SUPER limitations: no SUPER column as distribution or sort key",
        )
    return definitions + checks


def _like(stream: TokenStream) -> str:
    parent = stream.qualified_name()
    defaults = stream.accept_any("INCLUDING DEFAULTS", "EXCLUDING DEFAULTS") or "EXCLUDING DEFAULTS"
    if stream:
        raise stream.make_syntax_error()
    return f"{parent} {defaults}"


def _column(stream: TokenStream) -> ColumnDefinition:
    name = column_name(stream)
    column = ColumnDefinition(name, parse_type(stream))
    while stream:
        _column_attribute(stream, column)
    return column


def column_name(stream: TokenStream) -> str:
    """Take the name of a new column."""
    name = stream.name()
    if name in HIDDEN_COLUMNS:
        raise RedshiftError(
            "42701",
            f'column name "{name}" conflicts with a system column name',
            rule="unsupported PostgreSQL features: names of system columns are no names of columns",
        )
    return name


def _column_attribute(stream: TokenStream, column: ColumnDefinition) -> None:
    found = stream.accept_any(
        "DEFAULT", "IDENTITY", "GENERATED BY DEFAULT AS IDENTITY", "ENCODE", "DISTKEY", "SORTKEY", "NOT NULL", "NULL",
        "UNIQUE", "PRIMARY KEY", "REFERENCES", "COLLATE CASE_SENSITIVE",
    )  # fmt: skip
    if found == "DEFAULT":
        column.clauses.append(f"DEFAULT {render(stream.until(*ATTRIBUTES))}")
        column.has_default = True
    elif found.endswith("IDENTITY"):
        column.clauses.append(_identity(stream, "BY DEFAULT" if found.startswith("GENERATED") else "ALWAYS"))
        column.has_default = True
    elif found == "ENCODE":
        column.encoding = stream.next().text
    elif found == "DISTKEY":
        column.is_dist_key = True
    elif found == "SORTKEY":
        column.is_sort_key = True
    elif found == "NOT NULL":
        column.clauses.append("NOT NULL")
    elif found in ("UNIQUE", "PRIMARY KEY", "REFERENCES"):
        _column_key(stream, column, found)
    elif not found:
        raise _refused_attribute(stream)


def _identity(stream: TokenStream, generated: str) -> str:
    stream.expect("(")
    seed = stream.integer()
    stream.expect(",")
    step = stream.integer()
    stream.expect(")")
    floor = f"MINVALUE {min(seed, 1)}"
    return f"GENERATED {generated} AS IDENTITY (START WITH {seed} INCREMENT BY {step} {floor}) NOT NULL"


def _column_key(stream: TokenStream, column: ColumnDefinition, kind: str) -> None:
    if kind == "REFERENCES":
        _skip_reference(stream)
    if kind == "PRIMARY KEY":
        column.clauses.append("NOT NULL")
    column.checks.append(declared_key(kind, [column.name]))


def _skip_reference(stream: TokenStream) -> None:
    stream.qualified_name()
    if stream.key == "(":
        stream.names()


def _refused_attribute(stream: TokenStream) -> RedshiftError:
    if stream.key == "CHECK":
        return RedshiftError(NOT_SUPPORTED, "CHECK constraints are not supported", rule="no check constraints")
    if stream.key == "GENERATED":
        return RedshiftError(NOT_SUPPORTED, "generated columns are not supported", rule="no GENERATED … STORED columns")
    if stream.key == "COLLATE":
        return unsupported_here("COLLATE CASE_INSENSITIVE")
    return stream.make_syntax_error()


def _table_constraint(stream: TokenStream) -> list[str]:
    name = stream.name() if stream.accept("CONSTRAINT") else ""
    kind = stream.accept_any("PRIMARY KEY", "UNIQUE", "FOREIGN KEY")
    if not kind:
        raise RedshiftError(
            NOT_SUPPORTED, f"{stream.key} constraints are not supported", rule="only PRIMARY KEY, UNIQUE, FOREIGN KEY"
        )
    columns = stream.names()
    if kind == "FOREIGN KEY":
        stream.expect("REFERENCES")
        _skip_reference(stream)
    if stream:
        raise stream.make_syntax_error()
    # Redshift enforces NOT NULL on the columns of a primary key, though not the key.
    not_null = [f"NOT NULL {quote_name(column)}" for column in columns] if kind == "PRIMARY KEY" else []
    return [declared_key(kind, columns, name), *not_null]


def alter_table(statement: list[Token], *, in_transaction: bool) -> list[str]:
    """Translate an ALTER TABLE into statements for PostgreSQL; the client gets the answer of the last one.

    What only concerns Redshift's storage becomes a change without effect that needs the table.
    """
    stream = TokenStream(statement)
    stream.expect("ALTER TABLE")
    if stream.accept("IF"):
        raise RedshiftError(SYNTAX_ERROR, "ALTER TABLE IF EXISTS is not supported", rule="ALTER TABLE's grammar")
    table = stream.qualified_name()
    head = f"ALTER TABLE {table}"
    action = stream.accept_any(
        "ADD COLUMN", "ADD CONSTRAINT", "ADD PRIMARY", "ADD UNIQUE", "ADD FOREIGN", "ADD", "DROP CONSTRAINT",
        "DROP COLUMN", "DROP", "RENAME COLUMN", "RENAME", "OWNER", "ALTER COLUMN", "ALTER", "APPEND",
    )  # fmt: skip
    if action in ("ADD CONSTRAINT", "ADD PRIMARY", "ADD UNIQUE", "ADD FOREIGN"):
        again = TokenStream(statement)
        again.until("ADD")
        again.accept("ADD")
        return [f"{head} {', '.join(f'ADD {part}' for part in _table_constraint(again))}"]
    if action in ("ADD COLUMN", "ADD"):
        return [f"{head} {_add_column(stream)}"]
    if action in ("ALTER COLUMN", "ALTER"):
        return _alter(stream, head, table, in_transaction=in_transaction)
    if action == "APPEND":
        raise _append(in_transaction=in_transaction)
    if action in ("DROP COLUMN", "DROP"):
        return _drop_column(stream, head, table)
    if action == "RENAME COLUMN":
        former = quote_name(stream.name())
        stream.expect("TO")
        return [f"{head} RENAME COLUMN {former} TO {quote_name(column_name(stream))}"]
    if action in ("RENAME", "OWNER", "DROP CONSTRAINT"):
        return [f"{head} {action} {_single(stream)}"]
    raise RedshiftError(SYNTAX_ERROR, f'syntax error at or near "{stream.key}"', rule="ALTER TABLE's grammar")


def _drop_column(stream: TokenStream, head: str, table: str) -> list[str]:
    named = stream.until(",")
    again = TokenStream([*named, *stream.until()])
    column = _single(again)
    check = f"SELECT standin.check_drop_column({quote_string(table)}, {quote_string(named[0].name)})"
    return [check, f"{head} DROP COLUMN {column}"]


def _single(stream: TokenStream) -> str:
    rest = stream.until(",")
    if stream:
        raise RedshiftError(SYNTAX_ERROR, 'syntax error at or near ","', rule="one change per ALTER TABLE")
    if rest and rest[0].key == "IF":
        raise RedshiftError(SYNTAX_ERROR, 'syntax error at or near "if"', rule="ALTER TABLE has no IF EXISTS")
    return render(rest)


def _add_column(stream: TokenStream) -> str:
    if stream.key == "IF":
        raise RedshiftError(
            SYNTAX_ERROR, 'syntax error at or near "if"', rule="ADD COLUMN has no IF NOT EXISTS: look first"
        )
    column = _column(TokenStream(stream.until(",")))
    if stream:
        raise RedshiftError(
            SYNTAX_ERROR, 'syntax error at or near ","', rule="ALTER TABLE adds one column per statement"
        )
    if column.checks:
        raise RedshiftError(SYNTAX_ERROR, "syntax error: ADD COLUMN with a key", rule="ADD COLUMN takes no key")
    if "NOT NULL" in column.clauses and not column.has_default:
        raise RedshiftError(
            INVALID_DEFINITION,
            "ALTER TABLE ADD COLUMN defined as NOT NULL must have a non-null default expression",
            rule="ADD COLUMN … NOT NULL needs a DEFAULT",
        )
    return f"ADD COLUMN {column.definition()}"


def _alter(stream: TokenStream, head: str, table: str, *, in_transaction: bool) -> list[str]:
    unchanged = f"{head} SET (fillfactor = 100)"
    if stream.key in ("DISTKEY", "SORTKEY", "DISTSTYLE", "ENCODE", "COMPOUND"):
        return [*_alter_design(stream, table), unchanged]
    column = stream.name()
    if stream.accept("ENCODE"):
        return [set_encoding(table, column, stream.next().text), unchanged]
    if not stream.accept("TYPE"):
        raise RedshiftError(
            NOT_SUPPORTED,
            f"ALTER COLUMN {stream.key} is not supported",
            rule="ALTER COLUMN changes TYPE (of a VARCHAR) and ENCODE only",
        )
    if in_transaction:
        raise RedshiftError(
            ACTIVE_TRANSACTION,
            "ALTER TABLE ALTER COLUMN cannot run inside a transaction block",
            rule="ALTER COLUMN TYPE runs outside of BEGIN … END",
        )
    new_type = parse_type(stream)
    if stream:
        raise stream.make_syntax_error()
    check = f"SELECT standin.check_alter_type({quote_string(table)}, {quote_string(column)}, {quote_string(new_type)})"
    return [check, f"{head} ALTER COLUMN {quote_name(column)} TYPE {new_type}"]


def _alter_design(stream: TokenStream, table: str) -> list[str]:
    if stream.accept_any("DISTKEY", "DISTSTYLE KEY DISTKEY"):
        return TableDesign(dist_key=stream.name()).statements(table)
    if stream.accept("DISTSTYLE"):
        stream.next()
        return [set_dist_key(table, "")]
    if stream.accept_any("SORTKEY AUTO", "SORTKEY NONE"):
        return [set_sort_key(table, [])]
    if stream.accept_any("SORTKEY", "COMPOUND SORTKEY"):
        return [set_sort_key(table, stream.names())]
    stream.expect("ENCODE AUTO")
    return []


def _append(*, in_transaction: bool) -> RedshiftError:
    if in_transaction:
        return RedshiftError(
            ACTIVE_TRANSACTION, "ALTER TABLE APPEND cannot run inside a transaction block", rule="ALTER TABLE APPEND"
        )
    return unsupported_here("ALTER TABLE APPEND")
