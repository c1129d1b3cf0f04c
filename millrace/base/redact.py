"""Remove secrets from any text before it is logged, raised or shown.

It looks at text alone, so it also covers messages of drivers and services that quote a URL or a statement. Where a text
is ambiguous, it masks more, not less.
"""

from __future__ import annotations

import re

MASK = "***"

_NAMES = (
    r"(?<![\w-])[\w-]*(?:password|passwd|passphrase|passcode|pwd|secret|secret[ _-]?(?:access[ _-]?)?key"
    r"|(?:shared[ _-]?)?access[ _-]?key(?:[ _-]?id)?|(?:account|api|private|encryption|signing|master|webhook)[ _-]?key"
    r"|token|credentials?|signature|passwort|kennwort|contrase(?:ñ|n)a|mot de passe|senha|wachtwoord|пароль|密码)s?"
)
_SEPARATOR = r"(?:\\*[\"'])?\s*(?:=>|:=|=|:|%3[AD]|\\u003[ad])\s*"

_QUOTED = (
    # In a JSON text within a JSON text; in a SQL literal within one; JSON and shell; libpq and SQL. An end that is
    # missing was cut off.
    r"(?:\\+\"(?:(?!\\+\").)*(?:\\+\"|\Z)|''(?=[^'\s,;)])(?:''''|[^'])*(?:''|\Z)"
    r"|\"(?:\\.|\"\"|[^\"\\])*(?:\"|\Z)|'(?:\\.|''|[^'\\])*(?:'|\Z)|\$\$.*?(?:\$\$|\Z))"
)
_NESTED = r"(?:\[\s*\\*[\"'][^\]]*(?:\]|\Z)|\{\s*\\*[\"'](?:[^{}]|\{[^{}]*\})*(?:\}|\Z))(?=[\s,;)}\]\"']|\Z)"
"""Pattern of a JSON list or object."""
_VALUE = rf"(?!(?:YES|NO)\))(?:{_NESTED}|\w*\(?\s*{_QUOTED}|(?:[^\s\"'<>]|[\"'](?=[^\s,;:)}}\]]))+)"
"""Pattern of the value after a secret's name: quoted, as an argument (``SecretStr('…')``), or all up to the next blank.
MySQL's ``(using password: YES)`` contains no secret and stays."""

_NOT_TOKENS = r"(?!(?:auth\w*|credentials?|tokens?|realm|scheme|access|operations?|settings?)\b)"

_RULES: tuple[tuple[str, str], ...] = (
    # Before the names, which would take the head of a key's block for its value.
    (r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)", MASK),
    # scheme://user:password@host, up to the last @: an unescaped password may hold one, and a slash.
    (r"\b((?!https?:)[a-z][a-z0-9+.-]*://[^\s:/@?#]*):\S+@", rf"\1:{MASK}@"),
    # A page's path may hold an @ as well, after a port. A token may stand before the colon.
    (r"\b(https?://)[^\s:/@?#]*:(?:[^\s/]*|(?!\d+/)[^\s@'\"]+)@", rf"\1{MASK}@"),
    # https://token@host.
    (r"\b((?:[a-z]+\+)?https?://)[^\s:/@?#]+@", rf"\1{MASK}@"),
    # Addresses that are secrets themselves: whoever knows one may post there.
    (r"\b(https?://[^\s/\"']+/(?:[^\s?#\"']*/)?(?:web)?hooks?(?:b2)?/)[^\s\"'<>)]+", rf"\1{MASK}"),
    (
        r"\b(https?://(?:hooks\.slack\.com|[\w.-]+\.logic\.azure\.com|[\w.-]+\.powerplatform\.com"
        r"|[\w.-]*pagerduty\.com/integration|api\.telegram\.org)(?::\d+)?/)[^\s\"'<>)]+",
        rf"\1{MASK}",
    ),
    (
        r"\b((?:slack|discord|tgram|msteams|workflows|mmosts?|pagerduty|opsgenie|pover|pbul|sendgrid|mailgun|twilio"
        r"|gchat|rockets?|ntfys?|zulip|wxteams|ifttt)://)[^\s\"'<>)]+",
        rf"\1{MASK}",
    ),
    # Parameters whose names are secret in an address only.
    (r"([?&#](?:AWSAccessKeyId|sig|key|code|auth|access)=)[^&\s\"'<>]+", rf"\1{MASK}"),
    (r"\b((?:Authorization|(?:Set-)?Cookie)(?:\\*[\"'])?\s*[:=]\s*(?:\\*[\"'])?)[^\"'\r\n]+", rf"\1{MASK}"),
    # The same within an address of another text; user:password@host without a scheme.
    (r"(%3A%2F%2F[^%\s]*%3A)\S+?(%40)", rf"\1{MASK}\2"),
    (r"(?<![\w/:@.%-])([a-z_][\w.-]*):(?!//|\w+://)[^\s:@/\"']+@(?=[\w.-]+(?::\d|/|[\s\])>,;]|\Z))", rf"\1:{MASK}@"),
    (rf"\b(Bearer|Basic)\s+{_NOT_TOKENS}[A-Za-z0-9+/=_.~-]{{8,}}", rf"\1 {MASK}"),
    # name=value, name: value, "name": "value"; --name value; <name>value</name>.
    (rf"({_NAMES}{_SEPARATOR}){_VALUE}", rf"\1{MASK}"),
    (rf"((?<![\w-])(?:[\w-]+[_-])?pass\s*=\s*){_VALUE}", rf"\1{MASK}"),
    (rf"((?=--){_NAMES}\s+)(?!-){_VALUE}", rf"\1{MASK}"),
    (rf"(<{_NAMES}>)[^<]*", rf"\1{MASK}"),
    # {"name": "…PASSWORD", "value": "value"}, as a list of settings has it.
    (
        rf"(\\*[\"']?(?:name|key)\\*[\"']?\s*[:=]\s*\\*[\"']?{_NAMES}\\*[\"']?\s*[,;]?\s*\\*[\"']?value\\*[\"']?\s*[:=]\s*)"
        rf"{_VALUE}",
        rf"\1{MASK}",
    ),
    (rf"(\\*[\"']pass\\*[\"']\s*:\s*){_QUOTED}", rf"\1'{MASK}'"),
    # Options of commands: mysql -psecret, curl -u user:secret.
    (r"(\b(?:mysql|mysqldump|mariadb|mariadb-dump|mysqladmin)\b[^\n]*?\s-p)[^\s-]\S*", rf"\1{MASK}"),
    (r"(\s(?:-u|--user)[ =]?[^\s:]+):\S+", rf"\1:{MASK}"),
    # Verifiers of passwords, as Postgres stores them.
    (r"\b(SCRAM-SHA-256)\$\S+", rf"\1{MASK}"),
    # SQL: PASSWORD 'value', IDENTIFIED WITH plugin BY 'value', SET PASSWORD FOR user = 'value'.
    (
        rf"((?:{_NAMES}|\bIDENTIFIED(?:\s+WITH\s+\S+)?\s+(?:BY|AS)(?:\s+PASSWORD)?)\s+|\bPASSWORD\s+FOR\s+\S+\s*=\s*(?:PASSWORD\s*\(\s*)?)"
        rf"{_QUOTED}",
        rf"\1'{MASK}'",
    ),
    # Keys that are recognisable by themselves: of AWS, of Prefect, JSON web tokens, and of others.
    (r"\b(?-i:AKIA|ASIA)[A-Z0-9]{12,}\b", MASK),
    (r"\bpn[ub]_[a-z0-9]{20,}\b", MASK),
    (r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*", MASK),
    (
        r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[a-z]-|AIza|[rs]k[_-](?:live_|test_)?|npm_|hf_|dop_v1_|dapi|whsec_|SG\.)"
        r"(?=[\w.-]*\d)[\w.-]{16,}",
        MASK,
    ),
)
_COMPILED = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), replacement) for pattern, replacement in _RULES)


def redact(text: object) -> str:
    """Return ``str(text)`` with every password, key, token and signature replaced by ``***``."""
    redacted = str(text)
    for pattern, replacement in _COMPILED:
        redacted = pattern.sub(replacement, redacted)
    return redacted
