"""Compute the star schema of `stocks` a second time, and compare the warehouse with it.

It is computed from the platform's own history, version by version and without the engine.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from local.demos.totesys_star import TableCompared

OPEN_END = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001 - UTC, as everything here
BEGINNING = datetime(1900, 1, 1)  # noqa: DTZ001 - the same
SECOND, HERE = timedelta(seconds=1), timedelta(hours=7)
Row = tuple[Any, ...]
State = Mapping[Any, Row]
Query = Callable[[str], Sequence[Row]]
"""Rows of a statement."""

STOCKS = "SELECT at, operation, stock_id, company, category, price FROM {schema}.stock_history ORDER BY sequence"
USERS = (
    "SELECT at, operation, user_id, name, email, updated_at - INTERVAL 7 HOUR FROM {schema}.user_history "
    "ORDER BY sequence"
)
TRADES = (
    "SELECT transaction_id, user_id, stock_id, quantity, at - INTERVAL microsecond(at) MICROSECOND "
    "FROM {schema}.transaction_history WHERE operation = 'inserted'"
)
"""When they took place by the history's own clock, in UTC, whatever the platform wrote as their date."""
STOCK_DIMENSION = "SELECT stock_id, company, category, price, start_date, end_date, is_current FROM stocks.stock_dim"
USER_DIMENSION = "SELECT user_id, name, email, start_date, end_date, is_current FROM stocks.user_dim"
TRADE_VIEW = "SELECT transaction_id, user_id, stock_id, user_email, price FROM stocks.trade"
PORTFOLIO_VIEW = "SELECT day, user_id, value FROM stocks.portfolio_value"


@dataclass
class ExpectedVersion:
    """A version of one key; ``ends`` when its successor starts or the key was deleted."""

    starts: datetime
    values: Row
    ends: datetime | None = None

    def holds(self, moment: datetime) -> bool:
        """Return whether the version was valid at a time."""
        return self.starts <= moment and (self.ends is None or moment < self.ends)


Versions = Mapping[Any, list[ExpectedVersion]]


def compare_stocks(source: Query, schema: str, runs: Sequence[datetime], warehouse: Query) -> list[TableCompared]:
    """Compare both dimensions, each trade with what it was bound to, and the portfolios by day.

    ``schema`` (quoted) has the platform's history, ``runs`` are the times of the runs, in UTC without zone.
    """
    stocks = versions_of(states(source(STOCKS.format(schema=schema)), runs), runs, stamped=False)
    users = versions_of(states(source(USERS.format(schema=schema)), runs), runs, stamped=True)
    trades = source(TRADES.format(schema=schema))
    bound = [
        (number, user, stock, (at(users, user, moment) or (None, None))[1], (at(stocks, stock, moment) or (None,))[-1])
        for number, user, stock, _, moment in trades
    ]
    worth = [(day, user, value) for (day, user), value in portfolio([row[1:] for row in trades], stocks).items()]
    return [
        _compare("stock_dim", rows_of(stocks), warehouse(STOCK_DIMENSION)),
        _compare("user_dim", rows_of(users), warehouse(USER_DIMENSION)),
        _compare("trade", bound, warehouse(TRADE_VIEW)),
        _compare("portfolio_value", worth, warehouse(PORTFOLIO_VIEW)),
    ]


def _compare(table: str, expected: Sequence[Row], held: Iterable[Row]) -> TableCompared:
    """Compare as bags: a row that is there twice is one too many."""
    wanted, found = Counter(expected), Counter(map(tuple, held))
    return TableCompared(table, len(expected), (wanted - found).total(), (found - wanted).total())


def states(history: Sequence[Row], runs: Sequence[datetime]) -> Iterator[State]:
    """Return what each run saw. A row of history is time, operation, key, values."""
    for run in runs:
        seen: dict[Any, Row] = {}
        for at, operation, key, *values in history:
            if at <= run:
                seen[key] = tuple(values)
                if operation == "deleted":
                    del seen[key]
        yield seen


def versions_of(seen: Iterator[State], runs: Sequence[datetime], *, stamped: bool) -> Versions:
    """Return versions by the rules of decision 10.

    If ``stamped``, the last of a row's values says since when it is valid.
    """
    found: dict[Any, list[ExpectedVersion]] = defaultdict(list)
    for index, (state, run) in enumerate(zip(seen, runs, strict=True)):
        midnight = datetime.combine((run + HERE).date() - timedelta(days=1), datetime.min.time()) - HERE
        effective = max(midnight, runs[index - 1]) if index else midnight
        for key, row in state.items():
            values, stamp = (row[:-1], row[-1]) if stamped else (row, None)
            _arrive(found[key], values, stamp, effective, BEGINNING if stamped else effective)
        for key in found.keys() - state.keys():
            found[key][-1].ends = found[key][-1].ends or effective
    return found


def _arrive(
    versions: list[ExpectedVersion], values: Row, stamp: datetime | None, effective: datetime, unknown: datetime
) -> None:
    if not versions:
        versions.append(ExpectedVersion(stamp or unknown, values))
        return
    latest = versions[-1]
    if latest.ends is None and latest.values == values:
        return
    starts = stamp if stamp and stamp > latest.starts and (latest.ends is None or stamp >= latest.ends) else effective
    latest.ends = latest.ends or starts
    versions.append(ExpectedVersion(starts, values))


def rows_of(versions: Versions) -> list[Row]:
    """Return versions as rows of the table: key, values, start, end, whether it is current."""
    return sorted(
        (key, *one.values, one.starts, one.ends - SECOND if one.ends else OPEN_END, one.ends is None)
        for key, of_key in versions.items()
        for one in of_key
    )


def at(versions: Versions, key: Any, moment: datetime) -> Row | None:
    """Values of the version that was valid."""
    return next((one.values for one in versions.get(key, ()) if one.holds(moment)), None)


def portfolio(trades: Sequence[Row], stocks: Versions) -> dict[tuple[date, int], Decimal]:
    """Return portfolios by day and user, from trades of user, stock, quantity, time."""
    days = sorted({(moment + HERE).date() for *_, moment in trades})
    value: dict[tuple[date, int], Decimal] = defaultdict(Decimal)
    for day in days:
        close = datetime.combine(day + timedelta(days=1), datetime.min.time()) - HERE - timedelta(microseconds=1)
        for user, stock, quantity, moment in trades:
            if user is not None and (moment + HERE).date() <= day:
                valid = at(stocks, stock, close)
                value[day, user] += quantity * valid[-1] if valid else Decimal()
    return value
