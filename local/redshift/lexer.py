"""Redshift SQL as tokens, on which the stand-in recognises and rewrites statements.

Strings, quoted names and comments are told apart here, once, so that no rule looks into them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from local.redshift.errors import NOT_SUPPORTED, SYNTAX_ERROR, RedshiftError, unsupported_here

IDENTIFIER_LIMIT_BYTES = 127
POSTGRES_IDENTIFIER_LIMIT_BYTES = 63
ASCII_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})


class TokenKind(Enum):
    """What a token is."""

    WORD = "word"
    QUOTED = "quoted"
    STRING = "string"
    NUMBER = "number"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Token:
    """One token. ``key`` is what rules compare: the word in upper case or the operator; empty for the others.

    ``spaced`` tells whether space or a comment stood before it, so that text is rebuilt with its meaning kept.
    """

    kind: TokenKind
    text: str
    spaced: bool = True

    @property
    def key(self) -> str:
        """The word in upper case, or the operator; '' for strings, numbers and quoted names."""
        if self.kind is TokenKind.WORD:
            return self.text.upper()
        return self.text if self.kind is TokenKind.OPERATOR else ""

    @property
    def is_name(self) -> bool:
        """Whether the token can name a table or column."""
        return self.kind in (TokenKind.WORD, TokenKind.QUOTED)

    @property
    def name(self) -> str:
        """The identifier as Redshift stores it."""
        return self.text[1:-1].replace('""', '"') if self.kind is TokenKind.QUOTED else self.text.translate(ASCII_LOWER)

    @property
    def string(self) -> str:
        """The value of a string token: doubled quotes and backslash escapes undone."""
        return re.sub(r"''|\\(.)", lambda found: found[1] or "'", self.text[1:-1], flags=re.DOTALL)


PATTERN = re.compile(
    r"""(?P<space>\s+|--[^\n]*)
      | (?P<comment>/\*)
      | (?P<string>'(?:[^'\\]|\\.|'')*')
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<dollar>\$(?:[^\W\d]\w*)?\$)
      | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<word>(?:[^\W\d]|\#(?=\w))[\w$]*)
      | (?P<operator>::|->>|->|\#>>|\#>|@>|<@|\|\||<=|>=|<>|!=|!~\*?|~\*|[-+*/%^|&~!<>=(),.;:\[\]{}?@$])""",
    re.VERBOSE | re.DOTALL,
)


def tokens(sql: str) -> Iterator[Token]:
    """Yield the tokens of the text, without comments. Raises a syntax error where no token fits."""
    position, spaced = 0, False
    while position < len(sql):
        found = PATTERN.match(sql, position)
        if found is None:
            raise RedshiftError(SYNTAX_ERROR, f'syntax error: unterminated or unknown token at "{sql[position]}"')
        position = found.end()
        group = str(found.lastgroup)
        if group in ("space", "comment"):
            position = _end_of_comment(sql, position) if group == "comment" else position
            spaced = True
            continue
        yield _token(group, found[0], spaced)
        spaced = False


def _token(group: str, text: str, spaced: bool) -> Token:
    if group == "dollar":
        raise RedshiftError(
            NOT_SUPPORTED,
            "dollar-quoted strings are only allowed in the body of a procedure or function",
            rule="string literals are written in single quotes (and the stand-in has no procedures)",
        )
    if group == "quoted":
        return Token(TokenKind.QUOTED, _fold_quoted(text), spaced)
    if group == "word":
        _check_length(text)
    return Token(TokenKind(group), text, spaced)


def _fold_quoted(text: str) -> str:
    name = text[1:-1].translate(ASCII_LOWER)
    if not name.isprintable():
        raise RedshiftError(
            SYNTAX_ERROR, "identifier with a control character", rule="identifiers: UTF-8 printable characters only"
        )
    _check_length(name.replace('""', '"'))
    return f'"{name}"'


def _check_length(name: str) -> None:
    # Redshift cuts at 127 bytes without a word; PostgreSQL behind would cut at 63 already.
    if len(name.encode()) > POSTGRES_IDENTIFIER_LIMIT_BYTES:
        raise unsupported_here(
            f"an identifier over {POSTGRES_IDENTIFIER_LIMIT_BYTES} bytes "
            f"(Redshift keeps the first {IDENTIFIER_LIMIT_BYTES} bytes and drops the rest silently)"
        )


def _end_of_comment(sql: str, position: int) -> int:
    depth = 1
    while depth:
        found = re.compile(r"/\*|\*/").search(sql, position)
        if found is None:
            raise RedshiftError(SYNTAX_ERROR, "unterminated /* comment")
        depth += 1 if found[0] == "/*" else -1
        position = found.end()
    return position


def split(sql: str) -> list[list[Token]]:
    """Return the statements of the text, without their semicolons; empty ones are left out."""
    statements: list[list[Token]] = [[]]
    for token in tokens(sql):
        if token.key == ";":
            statements.append([])
        else:
            statements[-1].append(token)
    return [statement for statement in statements if statement]


def render(statement: Iterable[Token]) -> str:
    """Return the text of the tokens."""
    return "".join(f" {token.text}" if token.spaced else token.text for token in statement).strip()


def find_closing(statement: Sequence[Token], opening: int) -> int:
    """Return where the parenthesis closes that opens at a token; the length of the statement if it never does."""
    depth = 0
    for position in range(opening, len(statement)):
        depth += (statement[position].key == "(") - (statement[position].key == ")")
        if depth == 0:
            return position
    return len(statement)


def word(text: str) -> Token:
    """Return a token of the stand-in, a word or operator with a space before it."""
    return Token(TokenKind.WORD, text, spaced=True)


def quote_name(name: str) -> str:
    """Return the name as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_string(value: str) -> str:
    """Return the value as a string literal, in which a backslash escapes as it does in Redshift."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
