"""The picture of events by day, looked at as a reader does: words, bars, marks, and room for its labels."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import get_args
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.textpath import TextPath

from millrace.pipelines.events.counts import KINDS, Count, Days, EventCounts, Shown
from millrace.pipelines.events.picture import Form, draw, title_of

UNTIL = datetime(2026, 11, 21, 14, 5, 59, tzinfo=UTC)
TODAY = UNTIL.date()
PLATFORMS = ("ios", "android")
BLUE, ORANGE = "#0072b2", "#e69f00"
SVG = "{http://www.w3.org/2000/svg}"
BAR = re.compile(r"M (\S+) (\S+) L (\S+) \S+ L \S+ (\S+) ")
TODAY_S_MARK = "today, until 14:05 UTC"


def counts(days: int, number: Callable[[int, str, str], int], last: date = TODAY) -> EventCounts:
    """``number`` gives the events of a day (counted from 0), kind and platform."""
    span = Days(last - timedelta(days=days - 1), last + timedelta(days=1))
    each = [
        Count(day, kind, platform, number(index, kind, platform))
        for index, day in enumerate(span.each)
        for kind in KINDS
        for platform in PLATFORMS
    ]
    return EventCounts(Shown(span), UNTIL, tuple(each))


def uneven(day: int, kind: str, platform: str) -> int:
    return 7_000 * (1 + day * 7 % 5) + 30_000 * KINDS.index(kind) + 11_000 * PLATFORMS.index(platform)


def parsed(numbers: EventCounts) -> ElementTree.Element:
    return ElementTree.fromstring(draw(numbers, "svg"))  # noqa: S314 (our own bytes)


def texts(svg: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text")]


def bars(panel: ElementTree.Element, colour: str) -> list[tuple[float, float, float, float]]:
    """Left and right edge, height and bottom of a panel's bars of one colour, those of an incomplete day left out."""
    shapes = [
        BAR.match(" ".join(path.attrib["d"].split()) + " ")
        for path in panel.iter(f"{SVG}path")
        if f"fill: {colour}" in path.attrib.get("style", "") and "clip-path" in path.attrib
    ]
    found = [[float(number) for number in one.groups()] for one in shapes if one is not None]
    return [(left, right, bottom - top, bottom) for left, bottom, right, top in found]


def panels(svg: ElementTree.Element) -> list[ElementTree.Element]:
    return [group for group in svg.iter(f"{SVG}g") if group.attrib.get("id", "").startswith("axes_")]


def test_its_words_say_what_is_shown() -> None:
    svg = parsed(counts(14, uneven))
    title = "Submissions and registrations by UTC day, 8 to 21 November 2026"
    words = texts(svg)
    assert svg.findtext(f"{SVG}title") == title
    assert title in words
    assert words.count("events per UTC day") == 2
    assert "Successful submissions (submission_success): iOS 287,000, Android 441,000" in words
    assert "Initiated registrations (registration_initiated): iOS 707,000, Android 861,000" in words
    assert {"iOS", "Android", TODAY_S_MARK, "Sat", "21 Nov", "Sun", "8 Nov", "45,000"} <= set(words)
    assert "UTC day. Counted in the warehouse at 14:05 UTC on 21 Nov 2026." in words


def test_a_bar_is_as_high_as_its_number_and_platforms_stand_side_by_side() -> None:
    numbers = counts(14, uneven, last=date(2026, 11, 19))
    for panel, kind in zip(panels(parsed(numbers)), KINDS, strict=True):
        ios, android = bars(panel, BLUE), bars(panel, ORANGE)
        assert len(ios) == len(android) == 14
        scale = {
            round(height / number, 6)
            for platform, found in (("ios", ios), ("android", android))
            for (_, _, height, _), number in zip(found, numbers.by_day(kind, platform), strict=True)
        }
        assert max(scale) - min(scale) < 2e-6
        floor = BAR.match(" ".join(next(panel.iter(f"{SVG}path")).attrib["d"].split()) + " ")
        assert floor is not None
        assert {bottom for (_, _, _, bottom) in [*ios, *android]} == {float(floor[2])}, "the axis begins at 0"
        edges = [edge for pair in zip(ios, android, strict=True) for bar in pair for edge in bar[:2]]
        assert edges == sorted(edges)
        gaps = [after - before for before, after in zip(edges[1::2], edges[2::2], strict=False)]
        assert max(gaps[::2]) < min(gaps[1::2]), "the bars of one day are closer than those of two"


def test_the_day_that_is_not_over_is_hatched() -> None:
    today, past = parsed(counts(3, uneven)), parsed(counts(3, uneven, last=TODAY - timedelta(days=1)))
    for svg, hatched in ((today, 1), (past, 0)):
        for panel in panels(svg):
            assert [len(bars(panel, colour)) for colour in (BLUE, ORANGE)] == [3 - hatched] * 2
            paths = [path for path in panel.iter(f"{SVG}path") if "clip-path" in path.attrib]
            marked = [path for path in paths if "fill: url(#" in path.attrib["style"]]
            assert len(marked) == 2 * hatched
            assert all("opacity: 0.55" in path.attrib["style"] for path in marked)
        assert texts(svg).count(TODAY_S_MARK) == hatched


@pytest.mark.parametrize(
    ("days", "last", "span"),
    [
        (1, TODAY, "21 November 2026"),
        (22, TODAY, "31 October to 21 November 2026"),
        (14, date(2026, 1, 4), "22 December 2025 to 4 January 2026"),
        (31, date(2025, 12, 31), "1 to 31 December 2025"),
    ],
)
def test_the_title_names_the_days(days: int, last: date, span: str) -> None:
    assert title_of(counts(days, uneven, last)) == f"Submissions and registrations by UTC day, {span}"


@pytest.mark.parametrize("days", [1, 2, 16, 17, 32, 33, 60, 92])
def test_labels_of_days_do_not_meet_and_the_last_day_has_one(days: int) -> None:
    svg = parsed(counts(days, uneven))
    width = float(svg.attrib["viewBox"].split()[2])
    labels = sorted(
        (float(place[1]), text.text or "")
        for text in svg.iter(f"{SVG}text")
        if re.fullmatch(r"\d+ [A-Z][a-z]{2}", text.text or "")
        and (place := re.match(r"translate\((\S+) ", text.attrib["transform"]))
    )
    assert len(labels) >= min(days, 5)
    assert labels[-1][1] == "21 Nov"
    edges = [
        edge for left, text in labels for edge in (left, left + TextPath((0, 0), text, size=10).get_extents().xmax)
    ]
    gaps = [after - before for before, after in zip([0, *edges[1::2]], [*edges[::2], width], strict=True)]
    assert min(gaps) > 3


def test_nothing_at_all_is_drawn_as_nothing() -> None:
    words = texts(parsed(counts(14, lambda *_: 0)))
    assert words.count("none on these days") == 2
    # One for each day, kind and platform, and where the two axes begin.
    assert words.count("0") == 14 * 2 * 2 + 2
    assert "Successful submissions (submission_success): iOS 0, Android 0" in words


def test_an_absent_combination_shows_its_zero() -> None:
    words = texts(parsed(counts(14, lambda day, kind, _: 0 if (day, kind) == (3, KINDS[0]) else 5)))
    assert words.count("0") == 2 + 2
    assert "none on these days" not in words


def test_equal_numbers_give_equal_bytes_whatever_the_machine_prefers() -> None:
    numbers, forms = counts(3, uneven), get_args(Form)
    first = [draw(numbers, form) for form in forms]
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": False, "savefig.dpi": 30}):
        assert [draw(numbers, form) for form in forms] == first
    assert draw(counts(3, lambda *given: uneven(*given) + 1), forms[0]) != first[0]


def test_the_png_is_1200_by_700_dots() -> None:
    png = draw(counts(14, uneven), "png")
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (1200, 700)


def test_other_events_and_one_platform_are_drawn() -> None:
    start = TODAY - timedelta(days=3)
    each = tuple(Count(start + timedelta(days=day), "another_event", "android", day) for day in range(3))
    drawn = texts(parsed(EventCounts(Shown(Days(start, TODAY), ("another_event",), ("android",)), UNTIL, each)))
    assert any(one.startswith("Events by UTC day") for one in drawn)
    assert "another_event: Android 3" in drawn
    assert "iOS" not in drawn
