"""The simulated back office: its history in bulk, and its life from where its database is.

Everything it needs to go on is in the database: the beginning, the clock, and the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING

from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.base.sql_files import SQL_FILES
from millrace.drivers.psycopg_errors import database_errors
from millrace.seed_data.totesys import clock
from millrace.seed_data.totesys.arrivals import midnight
from millrace.seed_data.totesys.course import events_after
from millrace.seed_data.totesys.days import Calendar
from millrace.seed_data.totesys.happened import Happened
from millrace.seed_data.totesys.world import TotesysEvent, TotesysWorld
from millrace.seed_data.totesys.writing import RowVersion, load_world, write, write_bulk

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 (classes that are spelled small)
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 (the same)

PLACE = "postgres totesys"
SQL_DIRECTORY = SQL_FILES / "totesys"
HOUR = timedelta(hours=1)
JUST_BEFORE = timedelta(microseconds=1)
SHORTEST_PAUSE_SECONDS = 0.05

_CHANGES = "SELECT coalesce(max(sequence), 0) FROM simulation.history"


def install(connection: Connection) -> None:
    """Create the clock, the tables and their history if they are missing.

    Raises the errors of millrace.drivers.psycopg_errors.
    """
    with database_errors(PLACE), connection, connection.cursor() as cursor:
        cursor.execute(_sql("clock"))
        cursor.execute("SET LOCAL search_path = simulation, pg_catalog, public")
        cursor.execute(_sql("source"))
        cursor.execute(_sql("history"))


def _sql(name: str) -> str:
    return (SQL_DIRECTORY / f"{name}.sql").read_text(encoding="utf-8")


class TotesysSimulation:
    """The simulation of one database by its owner; one at a time.

    Every method raises the errors of millrace.drivers.psycopg_errors. ``silent_rate`` is a factor on how often rows are
    deleted, or edited without a timestamp; 1 is the measured rate.
    """

    def __init__(self, connection: Connection, seed: int, start: date, silent_rate: float = 1.0) -> None:
        """Begin on ``start`` (UTC), or go on where a simulation of the same seed and start is.

        Raises ConfigurationError when another was begun here, or is at work.
        """
        self._connection, self._silent_rate = connection, silent_rate
        with self._transaction() as cursor:
            _take(cursor)
            begun = clock.origin(cursor)
            if begun is None:
                _check_past(cursor, midnight(start))
                begun = Calendar(seed, start)
                clock.begin(cursor, begun, midnight(start))
            elif begun != Calendar(seed, start):
                raise ConfigurationError(
                    f"a simulation of seed {begun.seed} from {begun.start} was begun here",
                    place=PLACE,
                    remedy="go on with it (millrace simulate totesys), or choose an empty database",
                )
        self.calendar = begun
        self._go_on()

    @classmethod
    def resume(cls, connection: Connection, silent_rate: float = 1.0) -> TotesysSimulation:
        """Go on with what was begun in this database. Raises SourceMissing when nothing was."""
        with database_errors(PLACE), connection, connection.cursor() as cursor:
            begun = clock.origin(cursor)
        if begun is None:
            raise SourceMissing("no simulation was begun", place=PLACE, remedy="run `millrace seed totesys` first")
        return cls(connection, begun.seed, begun.start, silent_rate)

    def now(self) -> datetime:
        """Return the simulated time; everything until then is in the database."""
        with self._transaction() as cursor:
            return clock.now(cursor)

    def fill(self, days: int) -> Happened:
        """Make the first ``days`` days at once, into empty tables. The clock then rests at their end.

        Raises ConfigurationError when something happened already, or when they reach into the future.
        """
        begin, until = midnight(self.calendar.start), midnight(self.calendar.start + timedelta(days=days))
        with self._transaction() as cursor:
            _check_past(cursor, until)
            if clock.now(cursor) > begin or _last_change(cursor):
                raise ConfigurationError(
                    "there is data already",
                    place=PLACE,
                    remedy="go on with it (millrace simulate totesys), or choose an empty database",
                )
        versions = list(self._versions(until))
        with self._transaction() as cursor:
            write_bulk(cursor, versions)
            clock.aim(cursor, until)
            clock.complete(cursor, until)
        self._go_on()
        return Happened.of(version.change for version in versions)

    def advance(self, until: datetime) -> Happened:
        """Make everything that happens up to ``until``, each event at its time. The clock then rests at ``until``.

        A moment that has been reached changes nothing. Raises ConfigurationError for one in the future.
        """
        with self._transaction() as cursor:
            _check_past(cursor, until)
            if until <= clock.now(cursor):
                return Happened()
            clock.aim(cursor, until)
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

    def _seconds_to(self, mark: datetime, target: datetime, speed: float) -> float:
        """Real time from ``target`` to the next event, or to ``mark`` if that is nearer."""
        seconds = (min(self._next.at, mark) - target).total_seconds() / speed
        return max(seconds, SHORTEST_PAUSE_SECONDS)

    def _go_on(self) -> None:
        """From where the database is. What another hand changed meanwhile is seen as well."""
        with self._transaction() as cursor:
            clock.run(cursor, 0)
            moment = clock.now(cursor)
            # At another silent rate something may happen before what was next.
            clock.complete(cursor, moment)
            self._load(cursor)
        self._events = events_after(moment, self.calendar, self._silent_rate)
        self._next = next(self._events)

    def _load(self, cursor: Cursor) -> None:
        self._world, self._last_change = load_world(cursor), _last_change(cursor)

    def _happen(self, until: datetime) -> Happened:
        happened = Happened()
        with self._transaction() as cursor:
            if _last_change(cursor) != self._last_change:
                self._load(cursor)
        while self._next.at <= until:
            happened += self._commit(self._next)
            self._next = next(self._events)
        with self._transaction() as cursor:
            clock.complete(cursor, self._next.at - JUST_BEFORE)
            self._last_change = _last_change(cursor)
        return happened

    def _commit(self, event: TotesysEvent) -> Happened:
        changes = event.occur(self._world)
        with self._transaction() as cursor:
            clock.complete(cursor, event.at)
            write(cursor, changes)
        self._world.apply(changes)
        return Happened.of(changes)

    def _versions(self, until: datetime) -> Iterator[RowVersion]:
        """Simulate from the beginning in memory, and yield every version of a row."""
        world = TotesysWorld()
        events = events_after(midnight(self.calendar.start), self.calendar, self._silent_rate)
        for event in takewhile(lambda event: event.at <= until, events):
            for change in event.occur(world):
                before = world.tables[change.table].get(change.key, {})
                world.apply([change])
                yield RowVersion(event.at, change, {**before, **change.values})

    def _run(self, speed: float) -> None:
        with self._transaction() as cursor:
            clock.run(cursor, speed)

    def _target(self) -> datetime:
        with self._transaction() as cursor:
            return clock.target(cursor)

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        with database_errors(PLACE), self._connection, self._connection.cursor() as cursor:
            yield cursor


def _take(cursor: Cursor) -> None:
    if not clock.lock(cursor):
        raise ConfigurationError("another simulation is at work", place=PLACE, remedy="end it first")


def _check_past(cursor: Cursor, moment: datetime) -> None:
    present = clock.real(cursor)
    if moment > present:
        raise ConfigurationError(
            f"{moment:%Y-%m-%d %H:%M} lies in the future",
            place=PLACE,
            remedy=f"simulate up to now ({present:%Y-%m-%d %H:%M} UTC) at most",
        )


def _last_change(cursor: Cursor) -> int:
    cursor.execute(_CHANGES)
    return int(cursor.fetchone()[0])


def _next_hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + HOUR
