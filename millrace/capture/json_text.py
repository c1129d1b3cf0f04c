"""JSON texts that are well-formed and that no warehouse can hold: U+0000, and halves of surrogate pairs.

What does not belong here: making JSON (bson_values.py, the SELECT of postgres_values.py).
"""

from __future__ import annotations

import json
import re

import polars as pl

NUL_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_SUSPICIOUS = r"\\u(?:0000|[dD][89a-fA-F])"


def unfit(texts: pl.Series) -> pl.Series:
    """The reason (``nul_character``, ``no_json_form``) of every text that does not fit, null of the others.

    Nearly all texts hold no escape of the kind and are not looked at twice.
    """
    suspects = texts.str.contains(_SUSPICIOUS).fill_null(False).arg_true()
    reasons = pl.repeat(None, len(texts), dtype=pl.String, eager=True)
    return reasons.scatter(suspects, [_reason(texts[index]) for index in suspects]) if len(suspects) else reasons


def _reason(text: str) -> str | None:
    if NUL_ESCAPE.search(text):
        return "nul_character"
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "no_json_form"
    return None
