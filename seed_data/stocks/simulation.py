"""The simulated stock platform: generate its history at once, or continue from the state of its database.

All that a continuation needs is in the database: the beginning, the clock, and the tables with their history. course.py
decides what happens, writing.py writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING

from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.drivers.pymysql_errors import mysql_errors
from millrace.seed_data.stocks.clock import Clock
from millrace.seed_data.stocks.course import Origin, events_after
from millrace.seed_data.stocks.script import add_schema_name, schema_of, statements
from millrace.seed_data.stocks.world import StocksEvent, StocksWorld, midnight
from millrace.seed_data.stocks.writing import begin_session, load_world, write
from millrace.seed_data.totesys.happened import Happened

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

PLACE = "mysql stocks"
HOUR = timedelta(hours=1)
JUST_BEFORE = timedelta(microseconds=1)
SHORTEST_PAUSE_SECONDS = 0.05


def install(connection: Connection) -> None:
    """Create the clock, the tables and their history, where they are missing.

    Raises the errors of millrace.drivers.pymysql_errors: ConfigurationError if the user may not make the simulation's
    schema.
    """
    with mysql_errors(PLACE), connection.cursor() as cursor:
        schema = schema_of(cursor)
        for statement in (*statements("clock"), *statements("source"), *statements("history")):
            cursor.execute(add_schema_name(statement, schema))


class StocksSimulation:
    """The simulation of one database by its owner; one at a time.

    Every method raises the errors of millrace.drivers.pymysql_errors. ``rare_rate`` is a factor on how often rare
    events happen (rare.py); at 1 each kind happens once a month.
    """

    def __init__(self, connection: Connection, seed: int, start: date, rare_rate: float = 1.0) -> None:
        """Begin on ``start`` (where the platform is: UTC+7), or go on where a simulation of the same seed and start is.

        Raises ConfigurationError when another was begun here, or is at work.
        """
        self._connection, self._rare_rate = connection, rare_rate
        with self._transaction() as cursor:
            begin_session(cursor)
            self._schema = schema_of(cursor)
            self._clock = Clock(self._schema)
            self.origin = self._begin(cursor, Origin(seed, start))
        self._go_on()

    @classmethod
    def resume(cls, connection: Connection, rare_rate: float = 1.0) -> StocksSimulation:
        """Go on with what was begun in this database. Raises SourceMissing when nothing was."""
        with mysql_errors(PLACE), connection.cursor() as cursor:
            begun = Clock(schema_of(cursor)).origin(cursor)
            connection.rollback()
        if begun is None:
            raise SourceMissing("no simulation was begun", place=PLACE, remedy="run `millrace seed stocks` first")
        return cls(connection, begun.seed, begun.start, rare_rate)

    def now(self) -> datetime:
        """Return the simulated time; everything until then is in the database."""
        with self._transaction() as cursor:
            return self._clock.now(cursor)

    def fill(self, days: int) -> Happened:
        """Make the first ``days`` days in one transaction, in empty tables. The clock then rests at their end.

        Raises ConfigurationError when something happened already, or when they reach into the future.
        """
        begin, until = midnight(self.origin.start), midnight(self.origin.start + timedelta(days=days))
        with self._transaction() as cursor:
            self._check_past(cursor, until)
            world = load_world(cursor, self._schema)
            if self._clock.now(cursor) > begin or world.stocks or world.users:
                raise _there_is_data("there is data already")
            events = events_after(begin, self.origin, self._rare_rate)
            parts = [self._write(cursor, world, event) for event in takewhile(lambda event: event.at <= until, events)]
            self._clock.aim(cursor, until)
            self._clock.complete(cursor, until)
        self._go_on()
        return sum(parts, Happened())

    def advance(self, until: datetime) -> Happened:
        """Make everything that happens up to ``until``, each event at its time. The clock then rests at ``until``.

        A moment that has been reached changes nothing. Raises ConfigurationError for one in the future.
        """
        with self._transaction() as cursor:
            self._check_past(cursor, until)
            if until <= self._clock.now(cursor):
                return Happened()
            self._clock.aim(cursor, until)
        return self._happen(until)

    def live(
        self, speed: float, until: datetime, pause: Callable[[float], bool]
    ) -> Iterator[tuple[datetime, Happened]]:
        """Run the clock ``speed`` times as fast as the real one until ``until``, or until now and then in real time.

        Yields each simulated hour when it ends, and the rest. ``pause`` waits for some seconds and returns whether to
        stop; then the clock stays where it is.
        """
        happened, hour = Happened(), _next_hour(self.now())
        self._run(speed)
        while True:
            target = min(self._target(), until)
            while hour <= target:
                yield hour, happened + self._happen(hour)
                happened, hour = Happened(), hour + HOUR
            happened += self._happen(target)
            if target == until or pause(self._seconds_to(min(hour, until), target, speed)):
                break
        self._run(0)
        yield self.now(), happened

    def _begin(self, cursor: Cursor, origin: Origin) -> Origin:
        if not self._clock.lock(cursor):
            raise ConfigurationError("another simulation is at work", place=PLACE, remedy="end it first")
        begun = self._clock.origin(cursor)
        if begun is None:
            moment = midnight(origin.start)
            self._check_past(cursor, moment)
            self._clock.begin(cursor, origin, moment)
        elif begun != origin:
            raise _there_is_data(f"a simulation of seed {begun.seed} from {begun.start} was begun here")
        return origin

    def _go_on(self) -> None:
        """From where the database is."""
        with self._transaction() as cursor:
            self._clock.run(cursor, 0)
            moment = self._clock.now(cursor)
            # At another rare rate something may happen before what was next.
            self._clock.complete(cursor, moment)
        self._events = events_after(moment, self.origin, self._rare_rate)
        self._next = next(self._events)

    def _happen(self, until: datetime) -> Happened:
        """Apply an event to the rows in the database, so that changes by others are taken into account."""
        happened = Happened()
        if self._next.at <= until:
            with self._transaction() as cursor:
                world = load_world(cursor, self._schema)
        while self._next.at <= until:
            with self._transaction() as cursor:
                self._clock.complete(cursor, self._next.at)
                happened += self._write(cursor, world, self._next)
            self._next = next(self._events)
        with self._transaction() as cursor:
            self._clock.complete(cursor, self._next.at - JUST_BEFORE)
        return happened

    def _write(self, cursor: Cursor, world: StocksWorld, event: StocksEvent) -> Happened:
        changes = event.occur(world)
        write(cursor, event.at, changes)
        world.apply(changes)
        return Happened.of(changes)

    def _seconds_to(self, mark: datetime, target: datetime, speed: float) -> float:
        """Real time from ``target`` to the next event, or to ``mark`` if that is nearer."""
        seconds = (min(self._next.at, mark) - target).total_seconds() / speed
        return max(seconds, SHORTEST_PAUSE_SECONDS)

    def _run(self, speed: float) -> None:
        with self._transaction() as cursor:
            self._clock.run(cursor, speed)

    def _target(self) -> datetime:
        with self._transaction() as cursor:
            return self._clock.target(cursor)

    def _check_past(self, cursor: Cursor, moment: datetime) -> None:
        present = self._clock.real(cursor)
        if moment > present:
            raise ConfigurationError(
                f"{moment:%Y-%m-%d %H:%M} lies in the future",
                place=PLACE,
                remedy=f"simulate up to now ({present:%Y-%m-%d %H:%M} UTC) at most",
            )

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        with mysql_errors(PLACE), self._connection.cursor() as cursor:
            self._connection.begin()
            try:
                yield cursor
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()


def _there_is_data(problem: str) -> ConfigurationError:
    return ConfigurationError(
        problem, place=PLACE, remedy="go on with it (millrace simulate stocks), or choose an empty database"
    )


def _next_hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + HOUR
