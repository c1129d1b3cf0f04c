"""docs/costs.md adds up, and counts the runs that prefect.yaml schedules on the sizes it gives them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml
from cronsim import CronSim

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "costs.md").read_text()
FLOWS = {"replicate": "replicate", "extract_queue": "extract-queue", "chart": "chart"}
START = datetime(2026, 11, 1, tzinfo=UTC)
MONTH = timedelta(days=30)
VCPU_HOUR, GB_HOUR = 0.04048, 0.004445


def rows(heading: str) -> list[list[str]]:
    """Cells of the table beneath that heading, without its head."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]


def scheduled() -> dict[str, dict[str, Any]]:
    """Deployments with a schedule that is on, by the name Prefect gives them."""
    found = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    active = [one for one in found if any(each.get("active", True) for each in one.get("schedules", []))]
    return {f"{FLOWS[one['entrypoint'].split('.')[-1]]}/{one['name']}": one for one in active}


def runs_of_a_month(deployment: dict[str, Any]) -> int:
    """How often its schedules come round."""
    moments = (CronSim(one["cron"], START) for one in deployment["schedules"])
    return sum(len(list(takewhile(lambda moment: moment < START + MONTH, each))) for each in moments)


RUNS = {name: cells for name, *cells in rows("Runs")}
TOTAL = RUNS.pop("all")
DEPLOYMENTS = scheduled()


def test_every_scheduled_deployment_is_counted() -> None:
    assert RUNS.keys() == DEPLOYMENTS.keys()


@pytest.mark.parametrize("name", sorted(RUNS))
def test_runs_sizes_and_prices_are_those_of_the_deployment(name: str) -> None:
    runs, seconds, hours, cpus, gigabytes, price = map(float, RUNS[name])
    size = DEPLOYMENTS[name]["work_pool"]["job_variables"]
    assert (cpus * 1024, gigabytes * 1024) == (size["cpu"], size["memory"])
    assert abs(runs - runs_of_a_month(DEPLOYMENTS[name])) <= 1
    assert hours == pytest.approx(runs * seconds / 3600, abs=0.05)
    assert price == pytest.approx(runs * seconds / 3600 * (cpus * VCPU_HOUR + gigabytes * GB_HOUR), abs=0.005)


def test_the_sums_are_sums() -> None:
    by_run = [float(cells[-1]) for cells in RUNS.values()]
    assert float(TOTAL[0]) == sum(float(cells[0]) for cells in RUNS.values())
    assert float(TOTAL[-1]) == pytest.approx(sum(by_run), abs=0.02)
    *components, (_, arithmetic, total) = rows("Everything else")
    parts = [float(number) for number in re.findall(r"[\d.]+", arithmetic)]
    assert parts == [float(TOTAL[-1]), *(float(cells[-1]) for cells in components if float(cells[-1]))]
    assert float(total) == pytest.approx(sum(parts), abs=0.005)
