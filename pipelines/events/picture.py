"""The picture of events by day: a panel for each kind, in it a bar for each day and platform.

Equal numbers give equal bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date
from typing import Any, Literal

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from millrace.pipelines.events.contracts import PLATFORMS
from millrace.pipelines.events.counts import KINDS, EventCounts

Form = Literal["png", "svg"]
TITLES = dict(zip(KINDS, ("Successful submissions", "Initiated registrations"), strict=True))
COLOURS = dict(zip(PLATFORMS, ("#0072B2", "#E69F00"), strict=True))
"""Blue and orange of Okabe and Ito: apart for every kind of colour blindness, and in grey."""
STYLE = {
    "svg.hashsalt": "events", "svg.fonttype": "none",
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "axes.axisbelow": True,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#DDDDDD", "hatch.linewidth": 0.8,
    "xtick.major.size": 3, "ytick.major.size": 0,
}  # fmt: skip
METADATA: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Creator": None, "Date": None}}
"""Metadata without time and version of the library, so that equal numbers give equal bytes."""
INCHES, DOTS_PER_INCH = (12.0, 7.0), 100
GREY, GROUP_WIDTH = "#555555", 0.8
HATCH = "////"
LEGEND: dict[str, Any] = {
    "ncols": 3, "frameon": False, "borderpad": 0, "borderaxespad": 0.6, "handlelength": 1.4, "columnspacing": 1.4,
}  # fmt: skip
LABELLED_DAYS = 16
"""Most days that each get a label."""
NARROWEST_DAYS = 7
"""With fewer days than this, bars do not become wider."""


def draw(counts: EventCounts, form: Form) -> bytes:
    """Draw the chart as PNG or SVG."""
    # Whatever a matplotlibrc of this machine says.
    with matplotlib.style.context(["default", STYLE]):
        target = io.BytesIO()
        _figure(counts).savefig(target, format=form, metadata=METADATA[form] | {"Title": title_of(counts)})
        return target.getvalue()


def title_of(counts: EventCounts) -> str:
    """Return the title: what is shown, and for which days."""
    what = "Submissions and registrations" if counts.shown.kinds == KINDS else "Events"
    return f"{what} by UTC day, {_span(counts.days.each)}"


def _figure(counts: EventCounts) -> Figure:
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1))
    figure.suptitle(title_of(counts), fontsize=15, fontweight="bold", x=0.0125, ha="left")
    panels = figure.subplots(len(counts.shown.kinds), sharex=True, squeeze=False)[:, 0]
    for panel, kind in zip(panels, counts.shown.kinds, strict=True):
        _panel(panel, counts, kind)
    _label_days(panels[-1], counts.days.each)
    figure.align_ylabels(panels)
    panels[0].legend(handles=_legend(counts), loc="lower right", bbox_to_anchor=(1, 1), **LEGEND)
    counted = f"{counts.until:%H:%M} UTC on {_day(counts.until.date())} {counts.until:%Y}"
    figure.supxlabel(f"UTC day. Counted in the warehouse at {counted}.", fontsize=9, color=GREY)
    return figure


def _panel(panel: Axes, counts: EventCounts, kind: str) -> None:
    width = GROUP_WIDTH / len(counts.shown.platforms)
    totals = []
    for number, platform in enumerate(counts.shown.platforms):
        heights = counts.by_day(kind, platform)
        places = [day - GROUP_WIDTH / 2 + width * (number + 0.5) for day in range(len(heights))]
        bars = panel.bar(places, heights, width * 0.94, color=COLOURS[platform])
        for bar, day in zip(bars, counts.days.each, strict=True):
            if day == counts.incomplete:
                bar.set(alpha=0.55, hatch=HATCH, edgecolor="white", linewidth=0)
        _mark_zeros(panel, places, heights, COLOURS[platform])
        totals.append(f"{PLATFORMS[platform]} {sum(heights):,}")
    if not any(one.events for one in counts.counts if one.kind == kind):
        panel.set_ylim(top=1)
        panel.text(0.5, 0.5, "none on these days", transform=panel.transAxes, ha="center", color=GREY)
    panel.set_title(f"{_title(kind)}: {', '.join(totals)}", loc="left", fontsize=11)
    panel.set_ylabel("events per UTC day")
    panel.margins(y=0.1)
    panel.set_ylim(bottom=0)
    panel.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _title(kind: str) -> str:
    return f"{TITLES[kind]} ({kind})" if kind in TITLES else kind


def _mark_zeros(panel: Axes, places: Sequence[float], heights: Sequence[int], colour: str) -> None:
    """Write a zero where a bar has no height, so that it does not look like a missing day."""
    for place, height in zip(places, heights, strict=True):
        if height == 0:
            panel.annotate("0", (place, 0), (0, 2), textcoords="offset points", ha="center", fontsize=7, color=colour)


def _label_days(panel: Axes, days: Sequence[date]) -> None:
    """Label the days, counted back from the last one; weeks if there are many days."""
    step = next(step for step in (1, 2, 7, len(days)) if len(days) <= step * LABELLED_DAYS)
    labelled = range(len(days) - 1, -1, -step)
    panel.set_xticks(list(labelled), [f"{days[number]:%a}\n{_day(days[number])}" for number in labelled])
    half = max(len(days), NARROWEST_DAYS) / 2 + 0.1
    panel.set_xlim((len(days) - 1) / 2 - half, (len(days) - 1) / 2 + half)


def _legend(counts: EventCounts) -> list[Patch]:
    handles = [Patch(color=COLOURS[platform], label=PLATFORMS[platform]) for platform in counts.shown.platforms]
    if counts.incomplete is None:
        return handles
    until = f"today, until {counts.until:%H:%M} UTC"
    return [*handles, Patch(facecolor="#AAAAAA", edgecolor="white", linewidth=0, hatch=HATCH, label=until)]


def _span(days: Sequence[date]) -> str:
    first, last = days[0], days[-1]
    until = f"{last.day} {last:%B %Y}"
    if first == last:
        return until
    same_month, same_year = (first.year, first.month) == (last.year, last.month), first.year == last.year
    since = f"{first.day}" if same_month else f"{first.day} {first:%B}" if same_year else f"{first.day} {first:%B %Y}"
    return f"{since} to {until}"


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"
