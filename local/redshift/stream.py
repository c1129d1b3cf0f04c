"""Read a statement's tokens from left to right, for the parsers of DDL, COPY and UNLOAD."""

from __future__ import annotations

from collections.abc import Sequence

from local.redshift.errors import SYNTAX_ERROR, RedshiftError
from local.redshift.lexer import Token, TokenKind, quote_name, render
from local.redshift.reserved import RESERVED_WORDS

OPENING, CLOSING = {"(", "["}, {")", "]"}


class TokenStream:
    """A position in a list of tokens."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens, self._position = tokens, 0

    @property
    def key(self) -> str:
        """The key of the next token; '' at the end, and for strings, numbers and quoted names."""
        return self._tokens[self._position].key if self else ""

    def __bool__(self) -> bool:
        return self._position < len(self._tokens)

    def next(self) -> Token:
        """Take one token."""
        if not self:
            raise RedshiftError(SYNTAX_ERROR, "syntax error at end of input")
        self._position += 1
        return self._tokens[self._position - 1]

    def accept(self, phrase: str) -> bool:
        """Take the words of the phrase if they come next."""
        words = phrase.split()
        ahead = [token.key for token in self._tokens[self._position : self._position + len(words)]]
        if ahead != words:
            return False
        self._position += len(words)
        return True

    def accept_any(self, *phrases: str) -> str:
        """Take the first of the phrases that comes next and return it, else ''."""
        return next((phrase for phrase in phrases if self.accept(phrase)), "")

    def expect(self, phrase: str) -> None:
        """Take the words of the phrase or raise a syntax error."""
        if not self.accept(phrase):
            raise self.make_syntax_error(f" (expected {phrase})")

    def make_syntax_error(self, comment: str = "") -> RedshiftError:
        """Return the syntax error for the next token."""
        near = self._tokens[self._position].text if self else "end of input"
        return RedshiftError(SYNTAX_ERROR, f'syntax error at or near "{near}"{comment}')

    def string(self) -> str:
        """Take a string literal, and return its value."""
        if not self or self._tokens[self._position].kind is not TokenKind.STRING:
            raise self.make_syntax_error(" (expected a string)")
        return self.next().string

    def integer(self) -> int:
        """Take an integer, with its sign."""
        sign = -1 if self.accept("-") else 1
        token = self.next()
        if not token.text.isdigit():
            raise RedshiftError(SYNTAX_ERROR, f'syntax error at or near "{token.text}" (expected an integer)')
        return sign * int(token.text)

    def name(self) -> str:
        """Take one identifier."""
        if not self or not self._tokens[self._position].is_name:
            raise self.make_syntax_error(" (expected a name)")
        if self.key in RESERVED_WORDS:
            near = self.next().text
            raise RedshiftError(
                SYNTAX_ERROR, f'syntax error at or near "{near}"', rule="reserved words: quote the name"
            )
        return self.next().name

    def qualified_name(self) -> str:
        """Take ``[schema.]name``, quoted for PostgreSQL."""
        parts = [self.name()]
        while self.accept("."):
            parts.append(self.name())
        return ".".join(quote_name(part) for part in parts)

    def names(self) -> list[str]:
        """Take ``(name, …)``."""
        self.expect("(")
        found = [self.name()]
        while self.accept(","):
            found.append(self.name())
        self.expect(")")
        return found

    def inside_parentheses(self) -> list[Token]:
        """Take ``( … )``, and return the tokens between."""
        self.expect("(")
        start, depth = self._position, 1
        while depth:
            key = self.next().key
            depth += (key in OPENING) - (key in CLOSING)
        return list(self._tokens[start : self._position - 1])

    def until(self, *stops: str) -> list[Token]:
        """Take tokens up to one of these words outside of parentheses, or the end."""
        start, depth = self._position, 0
        while self and not (depth == 0 and self.key in stops):
            key = self.next().key
            depth += (key in OPENING) - (key in CLOSING)
        return list(self._tokens[start : self._position])

    def rest(self) -> str:
        """Take all tokens that are left, as text."""
        return render(self.until())


def split_by_comma(tokens: Sequence[Token]) -> list[list[Token]]:
    """Return the parts between commas that are outside of parentheses."""
    stream, parts = TokenStream(tokens), []
    while True:
        parts.append(stream.until(","))
        if not stream.accept(","):
            return parts
