"""The flows that make the sample sources of the pipelines `totesys`, `stocks` and `events` and let them live."""

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from pydantic import AwareDatetime, Field

from millrace.flows.parameters import FlowParameters
from millrace.seed_data.events.sending import Sent
from millrace.seed_data.simulate_tasks import (
    Simulated,
    fill_source,
    fill_stocks_source,
    send_events,
    simulate_source,
    simulate_stocks_source,
)

DAYS_LEFT = 7
"""Days between the end of a generated history and today, which can then be simulated faster than real time."""


class HistoryRequest(FlowParameters):
    """Which history to make. Equal requests with a start give equal rows."""

    days: int = Field(ge=1, le=3_650, description="Days, weekends included.")
    seed: int = Field(default=1, ge=0, le=2**32 - 1, description="Other seeds give other data.")
    start: date | None = Field(default=None, description="The first day; unless given, a week is left until today.")

    def first_day(self) -> date:
        """``start``, or so many days ago that a week is left."""
        return self.start or datetime.now(UTC).date() - timedelta(days=self.days + DAYS_LEFT)


class LifeRequest(FlowParameters):
    """How fast to simulate, and how long."""

    speed: float = Field(default=1, gt=0, le=86_400, description="Simulated seconds in a real one, until the present.")
    days: float | None = Field(default=None, gt=0, le=3_650, description="Simulated days; until stopped if not given.")


class SilentRate(FlowParameters):
    """How often the back office `totesys` changes rows silently."""

    silent_rate: float = Field(default=1, ge=0, le=1_000, description="Factor on silent edits and deletes.")


class RareRate(FlowParameters):
    """How often rare events happen on the stock platform."""

    rare_rate: float = Field(default=1, ge=0, le=1_000, description="Factor on what happens about once a month.")


class FillRequest(HistoryRequest, SilentRate):
    """Which history of `totesys` to generate."""

    days: int = Field(default=730, ge=1, le=3_650, description="Days, weekends included.")


class FillStocksRequest(HistoryRequest, RareRate):
    """Which history of `stocks` to generate."""

    days: int = Field(default=30, ge=1, le=3_650, description="Days where the platform is (UTC+7).")


class SimulateRequest(LifeRequest, SilentRate):
    """How to simulate `totesys` from now on."""


class SimulateStocksRequest(LifeRequest, RareRate):
    """How to simulate `stocks` from now on."""


class SimulateEventsRequest(FlowParameters):
    """Which events to send. Equal requests with a start send equal messages."""

    rate: float = Field(default=10, gt=0, le=100_000, description="Messages a second, on average.")
    count: int | None = Field(default=None, ge=1, description="Messages; until stopped if not given.")
    duplicates: float = Field(default=0.01, ge=0, le=0.5, description="Share of messages that repeat an earlier event.")
    malformed: float = Field(default=0.005, ge=0, le=0.5, description="Share of messages that break the contract.")
    seed: int = Field(default=1, ge=0, le=2**32 - 1, description="Other seeds give other events.")
    start: AwareDatetime | None = Field(
        default=None, description="The first moment, by default now; what lies in the past is sent at once."
    )


DEFAULT_FILL, DEFAULT_SIMULATION = FillRequest(), SimulateRequest()
DEFAULT_STOCKS_FILL, DEFAULT_STOCKS_SIMULATION = FillStocksRequest(), SimulateStocksRequest()
DEFAULT_EVENTS = SimulateEventsRequest()


@flow(name="seed-totesys", flow_run_name="totesys: {request.days} days", persist_result=False)
async def fill(request: FillRequest = DEFAULT_FILL) -> Simulated:
    """Make the source's tables, where they are missing, and their history.

    Raises ConfigurationError when there is data already.
    """
    simulated = await fill_source(request.days, request.seed, request.first_day(), request.silent_rate)
    return await _publish("seed-totesys", simulated)


@flow(name="seed-stocks", flow_run_name="stocks: {request.days} days", persist_result=False)
async def fill_stocks(request: FillStocksRequest = DEFAULT_STOCKS_FILL) -> Simulated:
    """Generate the history of `stocks`."""
    simulated = await fill_stocks_source(request.days, request.seed, request.first_day(), request.rare_rate)
    return await _publish("seed-stocks", simulated)


@flow(name="simulate", flow_run_name="totesys at speed {request.speed}", persist_result=False)
async def simulate(request: SimulateRequest = DEFAULT_SIMULATION) -> Simulated:
    """Live on from where the source is; SIGINT and SIGTERM end it, and what happened until then is its result.

    Raises ConfigurationError when nothing was begun, or another simulation is at work.
    """
    simulated = await simulate_source(request.speed, request.days, request.silent_rate)
    return await _publish("simulate-totesys", simulated)


@flow(name="simulate-stocks", flow_run_name="stocks at speed {request.speed}", persist_result=False)
async def simulate_stocks(request: SimulateStocksRequest = DEFAULT_STOCKS_SIMULATION) -> Simulated:
    """Simulate the stock platform of `stocks` from where its history ends."""
    simulated = await simulate_stocks_source(request.speed, request.days, request.rare_rate)
    return await _publish("simulate-stocks", simulated)


@flow(name="simulate-events", flow_run_name="events: {request.rate} a second", persist_result=False)
async def simulate_events(request: SimulateEventsRequest = DEFAULT_EVENTS) -> Sent:
    """Send events to the queue; SIGINT and SIGTERM end it, and what was sent until then is its result.

    Raises SourceMissing when the queue is not there.
    """
    start = request.start or datetime.now(UTC)
    sent = await send_events(request.rate, request.count, request.duplicates, request.malformed, request.seed, start)
    rows = {"valid": sent.valid, "duplicates": sent.duplicates, **sent.malformed}
    await acreate_table_artifact(
        key="simulate-events",
        table=[{"kind": kind, "messages": messages} for kind, messages in rows.items()],
        description=f"{sent.messages} messages were sent.",
    )
    return sent


async def _publish(key: str, simulated: Simulated) -> Simulated:
    await acreate_table_artifact(
        key=key,
        table=[{"table": table, **asdict(counts)} for table, counts in simulated.happened.tables.items()],
        description=f"What happened in the source from {simulated.start:%Y-%m-%d %H:%M} to "
        f"{simulated.end:%Y-%m-%d %H:%M} of simulated time.",
    )
    return simulated
