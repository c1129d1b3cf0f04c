"""Documents that a warehouse cannot hold: with a text that is too long, too many levels, or a number out of range.

Only documents that a search by Polars makes suspect are examined one by one: nearly none is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import accumulate

import polars as pl

from millrace.base.single_rows import pad_single_value
from millrace.sources.json_numbers import STRING_OR_NUMBER, loads

TOO_LONG, TOO_DEEP, UNFIT_NUMBER = "too_long", "too_deep", "number_does_not_fit"
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_STRING_OF_POLARS = r'"(?:[^"\\]|\\.)*"'
"""A string of JSON without possessive quantifiers, which Polars does not have and does not need.

Without them, Python would remember every character of a long text.
"""
_BACKSLASH = ord("\\")
_BYTES_OF_ESCAPE = 6
"""The most bytes that JSON writes for one byte."""
_OPENING = r"[\[{]"
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_ODD_NUMBER = r"(?:^|[\[:,\s])-?(?:[0-9.]{38}|[0-9.]+[eE][-+]?[0-9]{3})"
"""What may be a number of too many digits or with too large an exponent. Some texts are met as well; those that are all
hexadecimal digits are not, because of them every fourth would be."""
_NO_BRACKETS = bytes(set(range(256)) - set(_STEPS))


@dataclass(frozen=True)
class DocumentLimits:
    """The largest values that a warehouse can hold within a document."""

    text_bytes: int
    levels: int
    """How deep arrays and objects lie in each other."""
    digits: int
    """Digits of a number that no float holds."""
    exponent: int
    """Power of ten of a number, either way."""

    def find_unfit(self, documents: pl.Series) -> pl.Series:
        """Return the reason of every document that the warehouse cannot hold; null for the others."""
        reasons = pl.repeat(None, len(documents), dtype=pl.String, eager=True)
        documents = pad_single_value(documents)
        lengths = documents.str.len_bytes()
        suspects = [
            (UNFIT_NUMBER, documents.str.contains(_ODD_NUMBER), self._has_unfit_number),
            (TOO_LONG, lengths > self.text_bytes, self._has_long_text),
        ]
        if (lengths > 2 * self.levels).any():
            suspects.append((TOO_DEEP, documents.str.count_matches(_OPENING) > self.levels, self._is_deep))
        for reason, suspicious, is_unfit in suspects:
            unfit = [index for index in suspicious.arg_true() if is_unfit(documents, index)]
            reasons = reasons.scatter(unfit, reason) if unfit else reasons
        return reasons

    def _has_unfit_number(self, documents: pl.Series, index: int) -> bool:
        return not all(self._holds(token[0]) for token in STRING_OR_NUMBER.finditer(documents[index]))

    def _has_long_text(self, documents: pl.Series, index: int) -> bool:
        """Return whether a text or the name of a field is too long.

        The document is not parsed as a whole, because what a parser makes of a large one is many times as large.
        """
        written = documents.cast(pl.Binary)[index]
        return _has_stretch(written, self.text_bytes) and any(
            self._is_long(*found.span(), written) for found in re.finditer(_STRING, written)
        )

    def _is_long(self, start: int, end: int, document: bytes) -> bool:
        bytes_ = end - start - len('""')
        if not self.text_bytes < bytes_ <= self.text_bytes * _BYTES_OF_ESCAPE:
            return bytes_ > self.text_bytes
        return _measure_text(document[start:end]) > self.text_bytes

    def _is_deep(self, documents: pl.Series, index: int) -> bool:
        return count_levels(documents.gather([index])) > self.levels

    def _holds(self, token: str) -> bool:
        """Return whether a warehouse keeps the value of a number.

        A number in its float's shortest form is kept as that float.
        """
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


def count_levels(document: pl.Series) -> int:
    """Return how deep arrays and objects of a JSON text lie in each other."""
    bare: bytes = pad_single_value(document).str.replace_all(_STRING_OF_POLARS, "").cast(pl.Binary)[0]
    return max(accumulate(map(_STEPS.__getitem__, bare.translate(None, _NO_BRACKETS))), default=0)


def _has_stretch(document: bytes, length: int) -> bool:
    """Return whether ``length`` bytes in a row hold no quote that may end a text.

    Nearly all bytes of other documents are jumped over.
    """
    start = 0
    while start + length <= len(document):
        quote = document.rfind(b'"', start, start + length)
        while quote > start and document[quote - 1] == _BACKSLASH:
            quote = document.rfind(b'"', start, quote)
        if quote < 0:
            return True
        start = quote + 1
    return False


def _is_moderate(token: str) -> bool:
    return len(token) <= 20 and "e" not in token and "E" not in token


def _measure_text(written: bytes) -> int:
    """Return the length of a text that JSON wrote."""
    try:
        return len(loads(written.decode()).encode())
    except ValueError:
        return len(written) - len('""')
