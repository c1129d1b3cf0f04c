"""How results look: numbers are whole, text is text, and nothing of it reaches the terminal as a command."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from typer import Exit

from millrace.base.errors import MillraceError
from millrace.base.escaping import escape_markdown, escape_unprintable, markdown_code_block
from millrace.cli import show
from millrace.cli.command import fail
from millrace.tasks.plan import StreamPlan
from millrace.tasks.rejects import Rejects
from millrace.tasks.report import RunReport, StreamReport

HOSTILE = [
    "[/x] closing tag",
    "[bold red]red",
    "[link=https://evil.example]here[/link]",
    ":warning: [blink]",
    "\x1b]0;owned\x07\x1b[31mred",
    "\x9b31mred",
    "\u202eexe.txt",
    "two\nlines\rover",
    "\x00\x7f\u2028\ufeff",
]
OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\ufeff]")
GREAT = 1_234_567_890_123


def as_printed(text: str) -> str:
    """In one line, as cells may be folded."""
    return re.sub(r"[\s│┃]+", "", text)


@pytest.mark.parametrize("text", HOSTILE)
def test_keys_and_field_names_are_shown_as_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    rejects = Rejects("sales", f"reason {text}", text, 1, datetime(2026, 1, 1, tzinfo=UTC), "s3://lake/f", text)
    show.print_rejects([rejects])
    row = StreamReport("sales", "shop.sales", note=text, changes=(f"add column {text}",))
    show.print_report(RunReport("shop", (row,)), title=text)
    plan = StreamPlan("sales", text, text, "window", None, None, f"SELECT {text}", (text,), (f"INSERT {text}",))
    show.print_plans([plan])
    show.print_lines([text])
    printed = capsys.readouterr().out
    assert not OBEYED.search(printed)
    assert as_printed(printed).count(as_printed(escape_unprintable(text))) >= 8


def test_rejects_of_a_refused_batch_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    loaded, refused = (Rejects("sales", "too_long", "body", 1, now, "f", is_refused=one) for one in (False, True))
    show.print_rejects([loaded, refused])
    lines = [line for line in capsys.readouterr().out.splitlines() if "too_long" in line]
    assert ["refused" in line for line in lines] == [False, True]


@pytest.mark.parametrize("text", HOSTILE)
def test_json_means_the_same_and_is_safe_to_look_at(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    show.print_json({"key": text})
    printed = capsys.readouterr().out
    assert not OBEYED.search(printed)
    assert json.loads(printed) == {"key": text}


@pytest.mark.parametrize("text", HOSTILE)
def test_an_error_is_one_line_that_commands_nothing(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit):
        fail(MillraceError(f"no column {text}", place=f"stream {text}", remedy=f"rename {text}"))
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not OBEYED.search(told)
    assert told.count(escape_unprintable(text)) == 3


@pytest.mark.parametrize("columns", [None, 20, 80, 300])
def test_numbers_are_never_cut(
    columns: int | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal of any width, and in a pipe."""
    if columns is not None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(columns))
    counts = [GREAT + number for number in range(7)]
    long = "a_stream_with_a_name_that_is_rather_long"
    row = StreamReport(*(long, f"schema.{long}", "window", *counts, GREAT / 10))
    show.print_report(RunReport("shop", (row,)))
    printed = capsys.readouterr().out
    assert all(f"{count:,}" in printed for count in counts)
    assert f"{GREAT / 10:.1f}" in printed
    assert "…" not in printed


def test_a_pipe_gets_whole_texts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    file = f"s3://lake/{'long/' * 60}rejects-00000.ndjson"
    show.print_rejects([Rejects("sales", "too_long", "body", 1, datetime(2026, 1, 1, tzinfo=UTC), file)])
    assert file in capsys.readouterr().out


@pytest.mark.parametrize("text", [*HOSTILE, "a|b", "`x`", "[x](javascript:alert(1))", "<script>", "# *_~"])
def test_markdown_holds_text_and_no_markup(text: str) -> None:
    cell = escape_markdown(text)
    assert not OBEYED.search(cell)
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`\[\]<>*_#~!]", cell)


def test_code_in_markdown_does_not_end_early() -> None:
    block = markdown_code_block("SELECT '```\n# out'\n````", "sql")
    assert block.startswith("`````sql\n")
    assert block.endswith("\n`````")
