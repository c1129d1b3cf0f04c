"""No secret survives redaction, and what is no secret does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.redact import redact

SECRET = "hunter2Secret"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://bank:{SECRET}@db.example.com:5432/bank",
        f"redshift+psycopg2://u:{SECRET}@c.example.com/w?sslmode=prefer",
        f"mongodb://u:{SECRET}@h1:27017,h2:27017/?replicaSet=r",
        f"mongodb+srv://u:p%40{SECRET}@cluster.example.com",
        f"postgresql://u:a@{SECRET}@h/d",
        f"postgresql://u:a/{SECRET}@h/d",
        f"postgresql://u:{SECRET}/5432/b@h/d",
        f"redis://:{SECRET}@h",
        f"https://b.s3.amazonaws.com/k?X-Amz-Signature={SECRET}&x=1",
        f"X-Amz-Credential={SECRET}%2F20250101%2Fus-east-1%2Fs3%2Faws4_request",
        f"https://b/k%3FX-Amz-Security-Token%3D{SECRET}",
        f"https://b.s3.amazonaws.com/k?AWSAccessKeyId=x&Signature={SECRET}&Expires=1",
        f"aws_secret_access_key={SECRET}",
        f"AWS_SECRET_ACCESS_KEY: {SECRET}",
        f'{{"aws_session_token": "{SECRET}"}}',
        f"{{'password': '{SECRET} with blanks'}}",
        f"host=h dbname=d password={SECRET} port=1",
        f"host=h password='{SECRET} x' port=1",
        f"CREATE ROLE r PASSWORD 'it''s {SECRET}'",
        f"COPY t FROM 's3://b' ACCESS_KEY_ID 'x{SECRET}' SECRET_ACCESS_KEY '{SECRET}'",
        f"credentials 'aws_access_key_id=A;aws_secret_access_key={SECRET}'",
        f"CREDENTIALS 'aws_access_key_id={SECRET}'",
        f"Authorization: Bearer {SECRET}",
        f"'Authorization': 'AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature={SECRET}'",
        f"got Bearer {SECRET}.x",
        f"PREFECT_API_KEY=pnu_{SECRET}",
        f"api-key: {SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
    ],
)
def test_the_secret_is_gone(text: str) -> None:
    redacted = redact(text)
    assert SECRET not in redacted
    assert "***" in redacted


@pytest.mark.parametrize(
    "key",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",
        "ASIA" + "IOSFODNN7EXAMPLE",
        "pnu_" + "a1" * 18,
        "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N",
    ],
)
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
