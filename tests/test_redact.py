"""No secret survives redaction, and what is no secret does."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.base import redact as redact_module
from millrace.base.redact import MASK, redact
from tests.secret_forms import FORMS

SECRET = "hunter2Secret"
KEYS = (
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ASIA" + "IOSFODNN7EXAMPLE",
    "pnu_" + "a1" * 18,
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N",
    "ghp_" + "a1B2" * 9,
    "xoxb-" + "123456789012-a1B2c3D4e5F6",
    "sk_live_" + "a1B2" * 6,
)


@pytest.mark.parametrize("form", FORMS)
def test_the_secret_is_gone_in_every_form(form: str) -> None:
    redacted = redact(form.format(SECRET))
    assert SECRET not in redacted
    assert MASK in redacted


@pytest.mark.parametrize("secret", ["S3cr-t_x.y~z", "9f86d081884c7d65", "dGhpcyBpcy+Bub3QgYQ=="])
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_of_another_shape_is_gone_too(form: str, secret: str) -> None:
    assert secret not in redact(form.format(secret))


@pytest.mark.parametrize("form", FORMS)
def test_a_form_in_capitals_and_inside_a_longer_text_hides_the_secret_too(form: str) -> None:
    assert SECRET not in redact(f"the server said: ({form.upper().format(SECRET)}), and closed the connection")


@pytest.mark.parametrize("rule", range(len(redact_module._COMPILED)))
def test_every_rule_hides_a_form_that_no_other_hides(rule: int, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [one for number, one in enumerate(redact_module._COMPILED) if number != rule]
    monkeypatch.setattr(redact_module, "_COMPILED", others)
    texts = [*((form.format(SECRET), SECRET) for form in FORMS), *((key, key) for key in KEYS)]
    assert any(secret in redact(text) for text, secret in texts)


@pytest.mark.parametrize("key", KEYS)
def test_keys_are_recognised_by_themselves(key: str) -> None:
    assert key not in redact(f"refused: {key}, sorry")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://bank@db.example.com:5432/bank",
        "s3://landing/stori/transactions/part-0001.parquet",
        "https://example.com:8080/users/a@b.example.com",
        "http://127.0.0.1:4200/api",
        'relation "public.transactions" does not exist',
        "column token_count is of type int",
        "password authentication failed for user bank",
        "arn:aws:iam::123456789012:role/millrace-warehouse",
        "2024-05-01T10:00:00+00:00",
        'password authentication failed for user "bank"',
        "fe_sendauth: no password supplied",
        'column "password" of relation "users" does not exist',
        "the column password is of type varchar(60)",
        "permission denied for table tokens",
        "Access denied for user 'bank'@'10.0.0.1' (using password: YES)",
        "Basic authentication is not allowed",
        "column session_token is omitted",
        "primary_key=id, sort_key=at",
        "bypass=true, compass=north",
        "https://example.com/a/b?page=2&sort=name",
        "https://app.example.com/flow-runs/flow-run/0f5f0d3e-1f0c-4a54-9d42-8a2f7a5c0e4d",
        "keep it as a secret (docs/runbook.md, rotate a secret)",
        "s3://landing/stori/2024/rejects-00000.ndjson",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_host_and_user_stay_readable() -> None:
    assert redact("postgresql://bank:x@db.example.com:5432/b") == "postgresql://bank:***@db.example.com:5432/b"


@given(st.text(alphabet="abcXYZ019%!$&*()_+-=.,~@/", min_size=8, max_size=24).filter(lambda word: not word.isdigit()))
def test_any_password_in_a_url_is_gone(password: str) -> None:
    unlikely = f"Q{password}Q"
    assert unlikely not in redact(f"connection to postgresql://bank:{unlikely}@db.example.com/bank failed")


@given(st.text(alphabet="abcXYZ019%!$*(_+-=.~@/:", min_size=8, max_size=24))
def test_any_password_of_a_connection_string_is_gone(password: str) -> None:
    assert f"Q{password}Q" not in redact(f"host=db.example.com password=Q{password}Q dbname=bank")


@pytest.mark.parametrize(
    "text", ["a", "a-", "https://", "--password-", "password='", "https://h/", "x://a:", '\\"', "''"]
)
def test_a_long_text_takes_no_long_time(text: str) -> None:
    began = time.process_time()
    redact(text * 2_000)
    assert time.process_time() - began < 1
