"""Documents that a warehouse cannot hold: a text in them that is too long, too many levels, a number beyond its range.

A document is looked at only where its text, searched by Polars, may be one of them: nearly none is.
What does not belong here: the limits' numbers (warehouse/dialect.py), a document as a whole (check.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import accumulate

import polars as pl

from millrace.capture.json_numbers import STRING_OR_NUMBER, loads

TOO_LONG, TOO_DEEP, UNFIT_NUMBER = "too_long", "too_deep", "number_does_not_fit"
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_MOST_BYTES = 4
"""Of a character in UTF-8."""
_OPENING = r"[\[{]"
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_ODD_NUMBER = r"(?:^|[\[:,\s])-?(?:[0-9.]{38}|[0-9.]+[eE][-+]?[0-9]{3})"
"""What may be a number of too many digits or with too large an exponent. Some texts are met as well; those that are all
hexadecimal digits are not, because of them every fourth would be."""
_NO_BRACKETS = bytes(set(range(256)) - set(_STEPS))


@dataclass(frozen=True)
class DocumentLimits:
    """Of one text within a document, in bytes; of levels of arrays and objects; of the digits of a number that no float
    holds, and of the power of ten that any number may have, either way."""

    text_bytes: int
    levels: int
    digits: int
    exponent: int

    def unfit(self, documents: pl.Series) -> pl.Series:
        """The reason of every document that the warehouse cannot hold, null of the others."""
        lengths = documents.str.len_bytes()
        suspects = (lengths > self.text_bytes) | documents.str.contains(_ODD_NUMBER)
        if (lengths > 2 * self.levels).any():
            suspects |= documents.str.count_matches(_OPENING) > self.levels
        suspects = suspects.arg_true()
        reasons = pl.repeat(None, len(documents), dtype=pl.String, eager=True)
        return reasons.scatter(suspects, [self._reason(documents[i]) for i in suspects]) if len(suspects) else reasons

    def _reason(self, document: str) -> str | None:
        if document.count("[") + document.count("{") > self.levels and levels(document) > self.levels:
            return TOO_DEEP
        if len(document.encode()) > self.text_bytes and self._longest_text(document) > self.text_bytes:
            return TOO_LONG
        tokens = STRING_OR_NUMBER.finditer(document)
        return None if all(self._holds(token[0]) for token in tokens) else UNFIT_NUMBER

    def _longest_text(self, document: str) -> int:
        """Bytes of the longest text or name of a field, as far as one may be too long; the document is not parsed as a
        whole, because what a parser makes of a large one is many times as large."""
        found = (match.span() for match in _STRING.finditer(document))
        long = (document[start:end] for start, end in found if (end - start) * _MOST_BYTES > self.text_bytes)
        return max(map(_text_bytes, long), default=0)

    def _holds(self, token: str) -> bool:
        """A number in its float's shortest form is held as that float."""
        if token.startswith('"') or _is_moderate(token):
            return True
        try:
            number = Decimal(token)
        except InvalidOperation:
            return False
        if number and not -self.exponent <= number.adjusted() <= self.exponent:
            return Decimal(repr(float(token))) == number
        _, digits, power = number.as_tuple()
        return len(digits) <= self.digits and -int(power) <= self.exponent


def levels(document: str) -> int:
    """How deep arrays and objects of a JSON text lie in each other."""
    brackets = _STRING.sub("", document).encode().translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _is_moderate(token: str) -> bool:
    return len(token) <= 20 and "e" not in token and "E" not in token


def _text_bytes(written: str) -> int:
    """Of a text as JSON writes it."""
    try:
        return len(loads(written).encode())
    except ValueError:
        return len(written.encode()) - len('""')
