"""What a connection that cannot be opened says: which of user, database, TLS and URL is wrong, or that nobody answers.

The driver gives no SQLSTATE for it, and one line for each address that it tried.
"""

from __future__ import annotations

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from millrace.base.errors import ConfigurationError, MillraceError, SourceMissing, Unreachable
from millrace.blocks.sql import opener, postgres_connector
from millrace.drivers.psycopg_errors import database_errors, translate

TRIED = 'connection to server at "db.example.com" (10.0.0.5), port 5432 failed: '
REFUSED_FIRST = f"{TRIED}Connection refused\n\tIs the server running on that host?\n"


@pytest.mark.parametrize("before", ["", REFUSED_FIRST], ids=["alone", "after another attempt"])
@pytest.mark.parametrize(
    ("said", "kind", "remedy"),
    [
        (
            f'{TRIED}FATAL:  password authentication failed for user "u"',
            ConfigurationError,
            "correct user and password",
        ),
        (f'{TRIED}FATAL:  Peer authentication failed for user "u"', ConfigurationError, "correct user and password"),
        (f'{TRIED}FATAL:  role "u" does not exist', ConfigurationError, "correct user and password"),
        (f'{TRIED}FATAL:  role "u" is not permitted to log in', ConfigurationError, "correct user and password"),
        (f"{TRIED}fe_sendauth: no password supplied", ConfigurationError, "correct user and password"),
        (
            f'{TRIED}FATAL:  The password that was provided for the role "u" is wrong.',
            ConfigurationError,
            "correct user and password",
        ),
        (f'{TRIED}FATAL:  no pg_hba.conf entry for host "1.2.3.4"', ConfigurationError, "pg_hba.conf"),
        (f'{TRIED}FATAL:  database "d" does not exist', SourceMissing, "the database in the URL"),
        (f"{TRIED}FATAL:  no such database: d", SourceMissing, "the database in the URL"),
        (f"{TRIED}server does not support SSL, but SSL was required", ConfigurationError, "sslmode"),
        (f"{TRIED}SSL error: certificate verify failed", ConfigurationError, "sslmode"),
        (
            f'{TRIED}FATAL:  unrecognized configuration parameter "x"',
            ConfigurationError,
            "correct this connection's URL",
        ),
        (f"{TRIED}FATAL:  sorry, too many clients already", Unreachable, "no connection left"),
        (f"{TRIED}FATAL:  the database system is starting up", Unreachable, "see that the server runs"),
        (f"{TRIED}timeout expired", Unreachable, "see that the server runs"),
        (f"{TRIED}FATAL:  Passwort-Authentifizierung für »u« fehlgeschlagen", Unreachable, "refuses the connection"),
        (f"{TRIED}ВАЖНО:  база данных «d» не существует", Unreachable, "refuses the connection"),
    ],
)
def test_what_is_wrong_is_told_whichever_attempt_says_it(
    said: str, kind: type[MillraceError], remedy: str, before: str
) -> None:
    error = translate(psycopg2.OperationalError(f"{before}{said}\n"), "source postgres")
    assert type(error) is kind
    assert remedy in error.remedy
    assert said.removeprefix(TRIED) in error.problem


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"password": "wrong"}, ConfigurationError),
        ({"username": "nobody"}, ConfigurationError),
        ({"database": "nowhere_to_be_found"}, SourceMissing),
        ({"query": {"sslmode": "require"}}, ConfigurationError),
        ({"query": {"sslmode": "maybe"}}, ConfigurationError),
        ({"query": {"misspelt": "1"}}, ConfigurationError),
        ({"query": {"connect_timeout": "soon"}}, ConfigurationError),
        ({"query": {"service": "absent"}}, ConfigurationError),
    ],
    ids=str,
)
def test_a_wrong_url_is_refused_with_its_remedy(
    postgres_database: str, change: dict[str, str], kind: type[MillraceError]
) -> None:
    url = make_url(postgres_database).set(**change).render_as_string(hide_password=False)
    with pytest.raises(kind, match="source postgres: ") as failure, database_errors("source postgres"):
        opener(postgres_connector(url, place="URL"))()
    assert type(failure.value) is kind
