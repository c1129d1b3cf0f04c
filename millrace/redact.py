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

_RULES: tuple[tuple[str, str], ...] = (
    # scheme://user:password@host, up to the last @: an unescaped password may hold one.
    (r"\b([a-z][a-z0-9+.-]*://[^\s:/@?#]*):[^\s/]+@", rf"\1:{MASK}@"),
    # The same where the password holds an unescaped slash; not after a port, as a path may hold an @ as well.
    (r"\b([a-z][a-z0-9+.-]*://[^\s:/@?#]+):(?!\d+/)[^\s@'\"]+@", rf"\1:{MASK}@"),
    # Presigned URLs, plain or percent-encoded.
    (r"(X-Amz-[\w-]+(?:=|%3D))[^&\s\"'<>;)]+", rf"\1{MASK}"),
    (r"([?&](?:AWSAccessKeyId|Signature|sig)=)[^&\s\"'<>]+", rf"\1{MASK}"),
    (r"\b(Authorization[\"']?\s*[:=]\s*[\"']?)[^\"'\r\n]+", rf"\1{MASK}"),
    (r"\b(Bearer|Basic)\s+[A-Za-z0-9+/=_.~-]{8,}", rf"\1 {MASK}"),
    # name=value, name: value, "name": "value".
    (rf"\b({_NAMES}[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s,;&)}}\]\"']+)", rf"\1{MASK}"),
    # SQL: PASSWORD 'value', IDENTIFIED BY 'value', ACCESS_KEY_ID 'value'.
    (rf"\b({_NAMES}|IDENTIFIED\s+BY)(\s+)'(?:[^']|'')*'", rf"\1\2'{MASK}'"),
    # Keys that are recognisable by themselves: of AWS, of Prefect, JSON web tokens, PEM blocks.
    (r"\b(?-i:AKIA|ASIA)[A-Z0-9]{12,}\b", MASK),
    (r"\bpn[ub]_[a-z0-9]{20,}\b", MASK),
    (r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*", MASK),
    (r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", MASK),
)
_COMPILED = tuple((re.compile(pattern, re.IGNORECASE), replacement) for pattern, replacement in _RULES)


def redact(text: object) -> str:
    """``str(text)`` with the value of every password, key, token and signature replaced by ``***``."""
    redacted = str(text)
    for pattern, replacement in _COMPILED:
        redacted = pattern.sub(replacement, redacted)
    return redacted
