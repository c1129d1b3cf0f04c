"""Tokens: no rule may ever look into strings, names and comments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.redshift.errors import RedshiftError
from local.redshift.lexer import TokenKind, quote_name, quote_string, render, split, tokens

PRINTABLE = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Cn", "Co", "Cf", "Zs"]), min_size=1, max_size=12
)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_string_is_one_token_and_keeps_its_value(value: str) -> None:
    (token,) = tokens(quote_string(value))
    assert token.kind is TokenKind.STRING
    assert token.string == value


@given(PRINTABLE)
def test_a_quoted_name_is_one_token(name: str) -> None:
    (token,) = tokens(quote_name(name))
    assert token.kind is TokenKind.QUOTED
    assert token.name.lower() == name.lower()


@given(
    st.lists(st.sampled_from(["a", '"b c"', "'d;'", "1.5", "::", "->>", "(", "/* ; */", "-- ;\n", "<=", "'é''\\\\'"]))
)
def test_what_is_rendered_reads_the_same(parts: list[str]) -> None:
    read = list(tokens(" ".join(parts)))
    assert [token.text for token in tokens(render(read))] == [token.text for token in read]


def test_statements_are_split_outside_of_strings() -> None:
    statements = split("SELECT ';', \";\" -- ;\n; ; /* ; */ SELECT 2;")
    assert [render(statement) for statement in statements] == ["SELECT ';', \";\"", "SELECT 2"]


@pytest.mark.parametrize("sql", ["'a", '"a', "/* a", "$$", "'a\\'", "`a`"])
def test_what_does_not_end_is_refused(sql: str) -> None:
    with pytest.raises(RedshiftError):
        list(tokens(sql))
