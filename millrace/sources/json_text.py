"""JSON texts that a source accepts and no warehouse can hold: U+0000, half surrogate pairs, MariaDB's JSON."""

from __future__ import annotations

import json
import re

import polars as pl

from millrace.base.single_rows import pad_single_value

NUL_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*+\\u0000")
_NOT_OF_JSON = r'\\[^"\\/bfnrtu]|(?:^|[\[:,])\s*-?[0-9]*(?:\.[0-9]*)?(?:-|[0-9]\.|[0-9][eE][-+]?)(?:[^0-9+-]|$)'
"""MariaDB takes ``1.``, ``-``, ``1e`` and ``"\\x"``: a number without the digits that must follow, any escape."""
_SUSPICIOUS = rf"\\u(?:0000|[dD][89a-fA-F])|{_NOT_OF_JSON}"


def unfit(texts: pl.Series) -> pl.Series:
    """Return the reason (``nul_character``, ``no_json_form``) of every text that does not fit, null for the others.

    Nearly all texts hold nothing suspicious and are not looked at twice.
    """
    suspects = pad_single_value(texts).str.contains(_SUSPICIOUS).fill_null(False).arg_true()
    reasons = pl.repeat(None, len(texts), dtype=pl.String, eager=True)
    return reasons.scatter(suspects, [_reason(texts[index]) for index in suspects]) if len(suspects) else reasons


def _reason(text: str) -> str | None:
    if NUL_ESCAPE.search(text):
        return "nul_character"
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except RecursionError:
        return None
    except ValueError:
        return "no_json_form"
    return None
