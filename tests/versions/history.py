"""One history: a source that is edited, runs of a pipeline, and after each run every table compared with the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2

from millrace.lake.batch import Batch
from millrace.runs.choose import ReadRequest
from tests.support.engine import Engine, Together
from tests.versions.capture import Captured, Mode, Reading
from tests.versions.declared import pipeline_of
from tests.versions.edits import Tables, begin, tables_of
from tests.versions.judge import Difference, Judge, compare, plain
from tests.versions.models import (
    ITEM_COLUMNS,
    TOO_DEAR,
    UNKNOWN_LABEL,
    ModelOracle,
    Times,
    columns_of,
    oracle_of,
    rate_of,
    sold_of,
    stream_of,
)
from tests.versions.rules import Log, Records, Rows, Rules, States, Taken
from tests.versions.setting import Sales, Setting, Table
from tests.versions.source import drop, now

TABLES = "SELECT table_schema, table_name FROM information_schema.tables "
TABLES += "WHERE table_schema IN ('{0}', '{0}_source') AND table_type = 'BASE TABLE'"


class History:
    """On the places of ``together``; ``name`` is that of its pipeline, its schemas and its tables."""

    def __init__(self, together: Together, setting: Setting, name: str, dice: Random) -> None:
        self.setting, self.name = setting, name
        self._together = replace(together, engine=replace(together.engine, chunk_bytes=setting.chunk_bytes))
        self._engine: Engine = self._together.engine
        self.pipeline = pipeline_of(setting, name)
        self.tables: Tables = tables_of(setting, name, dice)
        begin(self.tables, dice)
        self._judge = Judge(self._engine.query)
        self._streams = self._captured()
        self._items = stream_of(setting)
        self._models: dict[str, ModelOracle] = {
            table.name: rate_of(table) if table.name == "rate" else oracle_of(setting, table)
            for table in setting.tables
        }
        self._sold = sold_of(setting, setting.sales) if setting.sales else None
        self._landed: list[list[Batch]] = []
        with closing(self._source()) as connection, connection.cursor() as cursor:
            for table in self.tables.all:
                table.create(cursor)
            connection.commit()

    async def run(self, mode: Mode) -> dict[str, Any]:
        """One run, and the comparison. Raises Difference."""
        self._write()
        before = now()
        batches = await self._together.read(self.pipeline, read_request=ReadRequest(mode))
        self._landed.append(batches)
        results = self._together.load(self.pipeline, self._together.transform(self.pipeline, batches))
        self._expect(mode, {batch.stream: batch for batch in batches}, before)
        self.check()
        return results

    async def run_and_find_nothing(self, mode: Mode) -> None:
        """Everything was read before. Raises Difference."""
        before = self.observed()
        results = await self.run(mode)
        self._landed.pop()
        loaded = {name: result.loaded for name, result in results.items() if result.loaded}
        if loaded:
            raise Difference(f"a run that finds nothing new loaded {loaded}")
        compare("a run that finds nothing new", self.observed(), before)

    def load_again(self) -> None:
        """What was landed last, transformed and loaded twice. Raises Difference."""
        before = self.observed()
        self._together.load(self.pipeline, self._together.transform(self.pipeline, self._landed[-1]))
        compare("loaded twice", self.observed(), before)

    def reload(self) -> None:
        """Everything that was landed, into an empty warehouse. Raises Difference."""
        before = self.observed()
        self.drop_targets()
        for batches in self._landed:
            self._together.load(self.pipeline, self._together.transform(self.pipeline, batches))
        compare("loaded again from the landing zone", self.observed(), before)
        self.check()

    async def read_log_at_once(self, table: Table) -> None:
        """The log again from its source, into a pipeline of its own: the same versions. Raises Difference."""
        rules = self._models["rate"].rules
        assert isinstance(rules, Log)
        believed = {code for code in rules.versions() if code not in self._unbelieved_codes()}
        if not table.has_tie_breaker:
            believed -= self._ambiguous_codes()
        other = replace(
            self.pipeline,
            name=f"{self.name}_again",
            schema="",
            streams=[one for one in self.pipeline.streams if one.name == "log"],
            models=[one for one in self.pipeline.models if one.name == "rate"],
        )
        question = "SELECT code, rate_key, start_date, end_date, is_current, price, note, seq FROM {}.rate"
        before = [row for row in self._engine.query(question.format(self.name)) if (row[0],) in believed]
        await self._together.run(other)
        found = [row for row in self._engine.query(question.format(other.name)) if (row[0],) in believed]
        compare("the log read at once", found, before)

    def check(self) -> None:
        """Raises Difference unless all tables hold what they must."""
        self._check_items()
        starts = {}
        for table in self.setting.tables:
            oracle, target = self._models[table.name], f"{self.name}.{table.name}"
            match oracle.rules:
                case States() | Log() as rules:
                    starts[table.name] = self._judge.versions(target, f"{table.name}_key", table.start, rules)
                case Records() as rules:
                    self._judge.records(target, f"{table.name}_record", self._columns(table), rules)
                case Rows() as rules:
                    self._judge.rows(target, self._columns(table), rules, marks=table.deletes == "soft")
        if self._sold and self.setting.sales:
            self._check_sold(self._sold.rules, self.setting.sales, starts)

    def check_views(self) -> None:
        """The views in which a moment is looked up. Raises Difference."""
        self._engine.warehouse.make_views(self.pipeline, "")
        for table in self.setting.tables:
            match self._models[table.name].rules:
                case States() | Log() as rules:
                    self._judge.moments(f"{self.name}.{table.name}_at", rules)
                case _:
                    pass

    def observed(self) -> list[tuple[Any, ...]]:
        """All tables, without the moments of loads."""
        found: list[tuple[Any, ...]] = []
        for schema, table in sorted(self._engine.query(TABLES.format(self.name))):
            with closing(self._engine.connect_warehouse()) as connection, connection.cursor() as cursor:
                cursor.execute(f'SELECT * FROM {schema}."{table}"')
                names = [column[0] for column in cursor.description]
                for row in cursor.fetchall():
                    values = dict(zip(names, map(plain, row), strict=True))
                    values |= {"_loaded_at": None, "_deleted_at": values.get("_deleted_at") is not None}
                    found.append((table, *sorted(values.items())))
        return found

    def drop_targets(self) -> None:
        """And the ledger."""
        schemas = (self.name, f"{self.name}_source", f"{self.name}_again", "millrace")
        self._engine.query("; ".join(f"DROP SCHEMA IF EXISTS {schema} CASCADE" for schema in schemas))

    def drop(self) -> None:
        """Everything."""
        self.drop_targets()
        with closing(self._source()) as connection, connection.cursor() as cursor:
            drop(cursor, self.tables.all)
            connection.commit()

    def _captured(self) -> dict[str, Captured]:
        setting, tables = self.setting, self.tables

        def is_bad(row: dict[str, Any]) -> bool:
            return setting.has_contract and row["price"] is not None and row["price"] >= TOO_DEAR

        def is_unlabelled(row: dict[str, Any]) -> bool:
            return setting.has_look_contract and row["label"] == UNKNOWN_LABEL

        items = Captured(tables.items, setting.items == "snapshot", setting.items == "swept", is_bad=is_bad)
        captured = {
            "items": items,
            "looks": Captured(tables.looks, is_snapshot=True, is_bad=is_unlabelled),
            "log": Captured(tables.log, is_appended=True),
            "sales": Captured(tables.sales, is_swept=bool(setting.sales and setting.sales.is_swept)),
        }
        return {stream.name: captured[stream.name] for stream in self.pipeline.streams}

    def _source(self) -> Any:
        return psycopg2.connect(self._engine.postgres_url)

    def _write(self) -> None:
        with closing(self._source()) as connection, connection.cursor() as cursor:
            for table in self.tables.all:
                table.write(cursor)
            connection.commit()

    def _expect(self, mode: Mode, batches: Mapping[str, Batch], before: datetime) -> None:
        """The rules take what the run read."""
        times = {name: self._times(name, batch, before) for name, batch in batches.items()}
        readings = {name: captured.read(mode) for name, captured in self._streams.items()}
        for name, captured in self._streams.items():
            captured.previous = times[name].read_at if name in times else captured.previous
        looks = self._streams["looks"].seen if self.setting.looks_up else {}
        labels = {look: row["label"] for (look,), row in looks.items()}
        for table in self.setting.tables:
            inputs = ("log",) if table.name == "rate" else ("items", *(("looks",) if table.looks_up else ()))
            is_complete = all(readings[one].is_complete for one in inputs)
            self._take(
                self._models[table.name],
                replace(readings[inputs[0]], is_complete=is_complete),
                labels,
                [times[one] for one in inputs if one in times],
            )
        if self._sold:
            self._take(self._sold, readings["sales"], {}, [times[one] for one in ("sales",) if one in times])
        if self.setting.keeps_versions and "items" in times:
            self._take_stream(readings["items"], times["items"])
        self._tell_moments()

    def _tell_moments(self) -> None:
        """At which versions begin and are deleted: facts will be near."""
        self.tables.moments.clear()
        for name in self.setting.sales.binds if self.setting.sales else ():
            rules = self._models[name].rules
            assert isinstance(rules, States | Log)
            for key, of_key in rules.versions().items():
                moments = {one.start for one in of_key} | {one.gone for one in of_key if one.gone}
                self.tables.moments.setdefault(key, []).extend(sorted(moments))

    def _take(
        self, oracle: ModelOracle, reading: Reading, labels: Mapping[int, str], of_inputs: Sequence[Times]
    ) -> None:
        if not of_inputs:
            return
        read_at, effective = max(one.read_at for one in of_inputs), max(one.effective_at for one in of_inputs)
        is_snapshot = self.setting.items == "snapshot" and oracle.root_keys == self.setting.key_columns
        oracle.take(reading, is_snapshot, labels, Times(len(self._landed), read_at, effective))

    def _take_stream(self, reading: Reading, times: Times) -> None:
        self._items.take(Taken(times.number, reading.rows, set(reading.gone), times.read_at, times.effective_at))

    def _times(self, name: str, batch: Batch, before: datetime) -> Times:
        """When a batch was read is in its manifest; since when it is effective follows from that."""
        read_at = batch.read_at.astimezone(UTC).replace(tzinfo=None)
        if not before - timedelta(milliseconds=5) <= read_at <= now():
            raise Difference(f"{name} was read at {read_at}, and the run began at {before}")
        effective = self._effective(read_at, self._streams[name].previous)
        if batch.effective_at.astimezone(UTC).replace(tzinfo=None) != effective:
            raise Difference(f"{name} is effective at {batch.effective_at}, and must be at {effective}")
        return Times(len(self._landed), read_at, effective)

    def _effective(self, read_at: datetime, previous: datetime | None) -> datetime:
        if self.setting.days_before is None:
            return read_at
        zone = ZoneInfo("Asia/Jakarta")
        day = read_at.replace(tzinfo=UTC).astimezone(zone).date() - timedelta(days=self.setting.days_before)
        begins = plain(datetime(day.year, day.month, day.day, tzinfo=zone))
        return max(begins, previous) if previous else begins

    def _columns(self, table: Table) -> tuple[str, ...]:
        return (*columns_of(self.setting, table), *(("since",) if table.is_dated else ()))

    def _check_items(self) -> None:
        """The stream's own target."""
        table, columns = f"{self.name}_source.items", (*self.setting.key_columns, *ITEM_COLUMNS)
        if self.setting.keeps_versions:
            self._judge.versions(table, "items_version", "start_date", self._items)
            return
        names = ", ".join(f'"{name}"' for name in columns)
        found = self._engine.query(f"SELECT {names} FROM {table} WHERE _deleted_at IS NULL")
        compare(table, found, [tuple(row[name] for name in columns) for row in self._streams["items"].seen.values()])

    def _check_sold(self, facts: Rules, sales: Sales, starts: Mapping[str, dict[int, Any]]) -> None:
        table = f"{self.name}.sold"
        assert isinstance(facts, Rows)
        columns = ("sale", *self.setting.key_columns, "code", "amount", "at")
        self._judge.rows(table, columns, facts, marks=sales.deletes == "soft" and not sales.is_appended)
        for name in sales.binds:
            by, rules = ("code",) if name == "rate" else self.setting.key_columns, self._models[name].rules
            assert isinstance(rules, States | Log)
            self._judge.binds(table, f"{name}_id", by, rules, starts[name], facts, sales.unknown)

    def _unbelieved_codes(self) -> set[tuple[str]]:
        """What is effective when it was read is so at another time in another read."""
        return {(row["code"],) for row in self.tables.log.rows.values() if row["since"] and row["since"] > now()}

    def _ambiguous_codes(self) -> set[tuple[str]]:
        """Two rows of one time, which nothing orders but their arrival."""
        times = [(row["code"], row["since"]) for row in self.tables.log.rows.values()]
        return {(code,) for code, since in times if times.count((code, since)) > 1}
