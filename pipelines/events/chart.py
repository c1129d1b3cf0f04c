"""The flow `chart`: what the product's events come to by day, drawn from the warehouse."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, Self, get_args

from prefect import flow
from pydantic import Field, StringConstraints, field_validator, model_validator

from millrace.base.errors import ConfigurationError
from millrace.flows.alerts import alert_cancellation, alert_failure
from millrace.flows.parameters import FlowParameters
from millrace.flows.turn import cancel_waiting_runs
from millrace.pipelines.events.chart_tasks import Chart, draw_chart, publish_numbers
from millrace.pipelines.events.contracts import Platform
from millrace.pipelines.events.counts import KINDS, Days, Shown, count_events

DEFAULT_DAYS, MOST_DAYS = 14, 92
"""More days than a quarter has make bars that nobody can tell apart."""
DAY = timedelta(days=1)
MOST_EVENTS = 4
"""More panels are too low to be read."""
EventName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class ChartRequest(FlowParameters):
    """What the chart shows and for which days, in UTC; by default the last fourteen days, today included."""

    pipeline: Literal["events"] = Field(default="events", description="The pipeline whose events are drawn.")
    start: date | None = Field(default=None, description="First day (inclusive); empty: so many days before the end.")
    end: date | None = Field(default=None, description="Last day (exclusive); empty: today is the last one.")
    days: int | None = Field(
        default=None, ge=1, le=MOST_DAYS, description="How many; empty: from start to end, or fourteen."
    )

    events: tuple[EventName, ...] = Field(
        default=KINDS, min_length=1, max_length=MOST_EVENTS, description="Names of events; a panel for each."
    )
    platforms: tuple[Platform, ...] = Field(
        default=get_args(Platform), min_length=1, description="A bar for each on every day."
    )

    @field_validator("events", "platforms")
    @classmethod
    def _check_repeated(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("each name once")
        return names

    @model_validator(mode="after")
    def _one_span(self) -> Self:
        if self.start and self.end:
            if self.days:
                raise ValueError("`start`, `end` and `days`: two of them say which days")
            if not DAY <= self.end - self.start <= MOST_DAYS * DAY:
                raise ValueError(f"from start to end are 1 to {MOST_DAYS} days (`start`, `end`)")
        return self

    def choose_shown(self, today: date) -> Shown:
        """Return what to count.

        Raises ConfigurationError if some of the days are in the future, or if there are too many.
        """
        end = self.end or (self.start + self.days * DAY if self.start and self.days else today + DAY)
        start = self.start or end - (self.days or DEFAULT_DAYS) * DAY
        if end > today + DAY:
            raise ConfigurationError(
                f"the days end after today, {today}", place="chart of events", remedy="ask for days that have begun"
            )
        if not DAY <= end - start <= MOST_DAYS * DAY:
            raise ConfigurationError(
                f"from {start} to today are not 1 to {MOST_DAYS} days",
                place="chart of events",
                remedy="start later, or give an end",
            )
        return Shown(Days(start, end), self.events, self.platforms)


DEFAULT_REQUEST = ChartRequest()


@flow(
    name="chart",
    flow_run_name="chart of {request.pipeline}",
    persist_result=False,
    on_failure=[alert_failure],
    on_cancellation=[alert_cancellation],
    on_running=[cancel_waiting_runs],
)
async def chart(request: ChartRequest = DEFAULT_REQUEST) -> Chart:
    """Count events by UTC day and platform, draw the chart, put it into the lake and show it with the run.

    Raises ConfigurationError if no event was loaded yet or the days are in the future, CountMismatch like the count.
    """
    now = datetime.now(UTC)
    numbers = await count_events(request.choose_shown(now.date()), now)
    await publish_numbers(numbers)
    return await draw_chart(numbers)
