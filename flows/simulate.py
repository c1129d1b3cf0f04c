"""The flows `seed-totesys` and `simulate`: the sample source of the pipeline `totesys`, its history and its life.

What does not belong here: the steps themselves (tasks/simulating.py), and what happens (seed_data/totesys).
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from pydantic import BaseModel, Field

from tasks.simulating import Simulated, fill_source, simulate_source

SEED_ARTIFACT_KEY, SIMULATE_ARTIFACT_KEY = "seed-totesys", "simulate-totesys"
DAYS_LEFT = 7
"""Between the end of a history and today, so that there is a time to be lived through faster than it passes."""


class FillRequest(BaseModel):
    """Which history to make. Equal requests with a start give equal rows."""

    days: int = Field(default=730, ge=1, le=3_650, description="Days, weekends included.")
    seed: int = Field(default=1, ge=0, le=2**32 - 1, description="Other seeds give other data.")
    start: date | None = Field(default=None, description="The first day; unless given, a week is left until today.")
    silent_rate: float = Field(default=1, ge=0, le=1_000, description="Factor on silent edits and deletes.")

    def first_day(self) -> date:
        """``start``, or so many days ago that a week is left."""
        return self.start or datetime.now(UTC).date() - timedelta(days=self.days + DAYS_LEFT)


class SimulateRequest(BaseModel):
    """How fast to live on, and how long."""

    speed: float = Field(default=1, gt=0, le=86_400, description="Simulated seconds in a real one, until the present.")
    days: float | None = Field(default=None, gt=0, le=3_650, description="Simulated days; until stopped if not given.")
    silent_rate: float = Field(default=1, ge=0, le=1_000, description="Factor on silent edits and deletes.")


DEFAULT_FILL, DEFAULT_SIMULATION = FillRequest(), SimulateRequest()


@flow(name="seed-totesys", flow_run_name="totesys: {request.days} days", persist_result=False)
async def fill(request: FillRequest = DEFAULT_FILL) -> Simulated:
    """Make the source's tables, where they are missing, and their history.

    Raises ConfigurationError when there is data already.
    """
    simulated = await fill_source(request.days, request.seed, request.first_day(), request.silent_rate)
    await _keep(SEED_ARTIFACT_KEY, simulated)
    return simulated


@flow(name="simulate", flow_run_name="totesys at speed {request.speed}", persist_result=False)
async def simulate(request: SimulateRequest = DEFAULT_SIMULATION) -> Simulated:
    """Live on from where the source is; SIGINT and SIGTERM end it, and what happened until then is its result.

    Raises ConfigurationError when nothing was begun, or another simulation is at work.
    """
    simulated = await simulate_source(request.speed, request.days, request.silent_rate)
    await _keep(SIMULATE_ARTIFACT_KEY, simulated)
    return simulated


async def _keep(key: str, simulated: Simulated) -> None:
    await acreate_table_artifact(
        key=key,
        table=[{"table": table, **asdict(counts)} for table, counts in simulated.happened.tables.items()],
        description=f"What happened in the source from {simulated.start:%Y-%m-%d %H:%M} to "
        f"{simulated.end:%Y-%m-%d %H:%M} of simulated time.",
    )
