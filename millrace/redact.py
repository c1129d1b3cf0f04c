"""Takes secrets out of any text before it is logged, raised or shown.

It works on text alone, so it also covers messages of drivers and services that quote a URL or a statement.
What does not belong here: which texts are shown.
"""

from __future__ import annotations

import re

MASK = "***"

_NAMES = (
    r"[\w-]*(?:password|passwd|passphrase|pwd|secret|secret[_-]?key|secret[_-]?access[_-]?key|access[_-]?key[_-]?id"
    r"|session[_-]?token|security[_-]?token|token|api[_-]?key|private[_-]?key|credential[s]?|signature)"
)

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host — greedy up to the last @, since an unescaped password may hold one.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@?#]*):[^\s/]+@"), rf"\1:{MASK}@"),
    # The same where the password holds an unescaped slash; only then, as a path may hold an @ as well.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@?#]+):(?!\d+/)[^\s@'\"]+@"), rf"\1:{MASK}@"),
    # Presigned URLs, in every spelling of the separator (= or its percent and HTML forms).
    (re.compile(r"(?i)\b(X-Amz-[\w-]+(?:=|%3D))[^&\s\"'<>;)]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)([?&](?:AWSAccessKeyId|Signature|sig)=)[^&\s\"'<>]+"), rf"\1{MASK}"),
    (
        re.compile(
            r"(?i)\b(Authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:Bearer|Basic|Digest|AWS4-HMAC-SHA256)\s+)?[^\"'\r\n]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)\b(Bearer|Basic)\s+[A-Za-z0-9+/=_.~-]{8,}"), rf"\1 {MASK}"),
    # name=value, name: value, "name": "value", with or without quotes.
    (re.compile(rf"(?i)\b({_NAMES}[\"']?\s*(?:=|:)\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&)}}\]\"']+)"), rf"\1{MASK}"),
    # SQL: PASSWORD 'value', IDENTIFIED BY 'value'.
    (
        re.compile(
            r"(?i)\b(PASSWORD|IDENTIFIED\s+BY|ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)(\s+)'(?:[^']|'')*'"
        ),
        rf"\1\2'{MASK}'",
    ),
    # Bare keys that are recognisable by themselves.
    (re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}\b"), MASK),
    (re.compile(r"\bpn[ub]_[A-Za-z0-9]{20,}\b"), MASK),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), MASK),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
)


def redact(text: object) -> str:
    """``str(text)`` with the value of every password, key, token and signature replaced by ``***``."""
    redacted = str(text)
    for pattern, replacement in _RULES:
        redacted = pattern.sub(replacement, redacted)
    return redacted
