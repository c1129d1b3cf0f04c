"""The demo of one's own databases: `init`, `plan`, `run`, fifteen kinds of change, `run`, `sweep`, into two warehouses.

The databases are a film rental in Postgres, a record shop in MySQL and six irregular collections in MongoDB. Nobody
edits the files that `init` writes. At the end every source is compared with both warehouses.
"""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psycopg2
import typer
from pymongo import MongoClient
from rich.table import Table

from local.demos.own_comparison import Rows, compare_pipeline, read_documents, read_mysql, read_postgres
from local.mysql import connect as connect_mysql
from millrace import Stream
from millrace.base.errors import FatalError, MillraceError
from millrace.blocks.bootstrap import bootstrap
from millrace.blocks.load import load_warehouse
from millrace.blocks.sql import opener
from millrace.cli.command import print_message
from millrace.cli.main import application
from millrace.cli.show import console
from millrace.declaration.find import find_pipeline
from millrace.seed_data.own.changes import (
    CHINOOK,
    CHINOOK_CHANGES,
    COMMITTED_LATE,
    PAGILA,
    PAGILA_CHANGES,
    change_statements,
    install_statements,
)
from millrace.seed_data.own.documents import CHANGES as DOCUMENT_CHANGES
from millrace.seed_data.own.documents import DATABASE as IRREGULAR
from millrace.seed_data.own.documents import insert_documents

SOURCES = {
    PAGILA: f"postgres:{PAGILA}.*",
    CHINOOK: f"mysql/{CHINOOK}:{CHINOOK}.*",
    IRREGULAR: f"mongo:{IRREGULAR}.*",
}
"""What `millrace init` is asked for, by the name of the pipeline that it writes."""
WAREHOUSES = {
    "Redshift": {"WAREHOUSE_URL": "WAREHOUSE_URL", "WAREHOUSE_IAM_ROLE": "WAREHOUSE_IAM_ROLE"},
    "Postgres": {"WAREHOUSE_URL": "WAREHOUSE_STOCKS_URL"},
}
"""The settings of the warehouse: a variable, and the one of the stack that has its value."""
COUNTED = ("inserted", "updated", "deleted")


@dataclass(frozen=True)
class PipelineOutcome:
    """What came of a pipeline in a warehouse."""

    streams: int
    changed: int
    """Rows that the run after the changes inserted, updated or deleted."""
    swept: int
    """Rows that the sweep after that run inserted, updated or deleted."""
    rows: int
    """Rows of the sources at the end."""
    differences: int
    """Rows that the comparison found different, and rows that a deep sweep or a contract did not leave as they were."""


class Places:
    """Connections to the three sources, as whoever owns them has them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.mongo = MongoClient[dict[str, Any]](environment["SOURCE_MONGO_URL"], tz_aware=True)
        self._postgres_url = environment["SOURCE_POSTGRES_URL"]
        self._mysql_url = environment["SOURCE_MYSQL_CHINOOK_URL"]

    def postgres(self) -> Any:
        """Return a new connection whose schema is that of the film rental."""
        return psycopg2.connect(self._postgres_url, options=f"-c search_path={PAGILA}")

    def mysql(self) -> Any:
        """Return a new connection to the record shop, which commits each statement."""
        return connect_mysql(self._mysql_url)

    def readers(self) -> dict[str, Callable[[Stream], Rows]]:
        """Return how each pipeline's sources are read for the comparison."""
        return {
            PAGILA: read_postgres(self.postgres),
            CHINOOK: read_mysql(self.mysql),
            IRREGULAR: read_documents(self.mongo[IRREGULAR]),
        }

    def execute(self, connect: Callable[[], Any], statements: Sequence[str]) -> None:
        """Run statements in a session of their own, and commit."""
        with closing(connect()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def install(self) -> None:
        """Make the three databases."""
        self.execute(self.postgres, install_statements(PAGILA))
        self.execute(self.mysql, install_statements(CHINOOK))
        insert_documents(self.mongo[IRREGULAR])

    @contextmanager
    def write_late(self) -> Iterator[None]:
        """Write a row into each database with transactions, and commit both at the end."""
        with closing(self.postgres()) as postgres, closing(self.mysql()) as mysql:
            mysql.begin()
            for connection, changes in ((postgres, PAGILA_CHANGES), (mysql, CHINOOK_CHANGES)):
                with connection.cursor() as cursor:
                    cursor.execute(changes[COMMITTED_LATE])
            yield
            postgres.commit()
            mysql.commit()

    def change(self) -> None:
        """Make every other kind of change."""
        self.execute(self.postgres, change_statements(PAGILA_CHANGES))
        self.execute(self.mysql, change_statements(CHINOOK_CHANGES))
        for make in DOCUMENT_CHANGES.values():
            make(self.mongo[IRREGULAR])


def demo(directory: Path) -> bool:
    """Run the demo with its files in ``directory``; return whether both warehouses hold what the sources hold."""
    begun, stack, places = time.monotonic(), dict(os.environ), Places(os.environ)
    asyncio.run(bootstrap(stack))
    places.install()
    _say("Three databases that nobody made for Millrace: a file for each (millrace init)")
    files = {name: directory / f"{name}.py" for name in SOURCES}
    for name, source in SOURCES.items():
        _millrace("init", source, "--output", str(files[name]))
        console().print(f"millrace init '{source}': {_describe(files[name])}")
    written = {file: file.read_text() for file in files.values()}
    with places.write_late():
        _say("A plan and a first run of each, into two warehouses (millrace plan, millrace run)")
        for name, setting in WAREHOUSES.items():
            _choose(stack, setting)
            for file in files.values():
                _millrace("plan", str(file))
            rows = sum(_count_changes(_report("run", file)) for file in files.values())
            console().print(f"{name}: {rows:,} rows")
    _say(f"{len(PAGILA_CHANGES)} kinds of change to each")
    console().print("; ".join(PAGILA_CHANGES))
    console().print("; ".join(DOCUMENT_CHANGES))
    places.change()
    _say("A run, a sweep and a comparison of each (millrace run, millrace sweep)")
    outcomes = {}
    for warehouse, setting in WAREHOUSES.items():
        _choose(stack, setting)
        for name, file in files.items():
            outcomes[warehouse, name] = _end(file, places.readers()[name])
    if written != {file: file.read_text() for file in files.values()}:
        raise FatalError("a file was edited", place="demo", remedy="run the demo again")
    is_equal = _show(outcomes)
    _choose(stack, WAREHOUSES["Redshift"])
    _say(f"Done in {time.monotonic() - begun:.0f} s.")
    return is_equal


def _end(file: Path, read: Callable[[Stream], Rows]) -> PipelineOutcome:
    """Run and sweep after the changes, then compare."""
    pipeline = find_pipeline(str(file))
    changed, swept = _report("run", file), _report("sweep", file)
    deep = _report("sweep", file, "--deep")
    compared = compare_pipeline(pipeline, read, opener(asyncio.run(load_warehouse()).connector))
    rejected = sum(row["rejected"] for report in (changed, swept, deep) for row in report)
    differences = compared.missing + compared.extra + _count_changes(deep) + rejected
    return PipelineOutcome(
        len(pipeline.streams), _count_changes(changed), _count_changes(swept), compared.rows, differences
    )


def _choose(stack: Mapping[str, str], setting: Mapping[str, str]) -> None:
    """Choose the warehouse as a user does, by variables and `python -m millrace.blocks.bootstrap`."""
    others = {name: value for name, value in stack.items() if not name.startswith("WAREHOUSE_")}
    asyncio.run(bootstrap(others | {name: stack[value] for name, value in setting.items()}))


def _report(command: str, file: Path, *options: str) -> list[dict[str, Any]]:
    """Run a command and return the rows of its report."""
    rows: list[dict[str, Any]] = orjson.loads(_millrace(command, str(file), "--json", *options))["streams"]
    return rows


def _millrace(*arguments: str) -> str:
    """Run `millrace` in this process and return what it printed. Raises FatalError for another exit code than 0."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = application(list(arguments), standalone_mode=False)
    if code:
        raise FatalError(f"exit code {code}", place=f"millrace {' '.join(arguments)}", remedy="see the message above")
    return printed.getvalue()


def _describe(file: Path) -> str:
    comments = file.read_text().count("# NOT READ")
    return f"{len(find_pipeline(str(file)).streams)} streams" + (f", {comments} as a comment" if comments else "")


def _count_changes(report: Sequence[Mapping[str, Any]]) -> int:
    return sum(row[name] for row in report for name in COUNTED)


def _show(outcomes: Mapping[tuple[str, str], PipelineOutcome]) -> bool:
    table = Table("warehouse", "pipeline", "streams", "changed by the run", "by the sweep", "rows", "differences")
    for (warehouse, name), one in outcomes.items():
        counts = (one.streams, one.changed, one.swept, one.rows, one.differences)
        table.add_row(warehouse, name, *(f"{count:,}" for count in counts))
    differences = sum(one.differences for one in outcomes.values())
    console().print(table)
    console().print(f"{differences} differences")
    return not differences


def _say(text: str) -> None:
    console().print(f"\n{text}", style="bold")


def main() -> None:
    """Run the demo; needs the environment of `python -m local run --mysql`. Exit code 1 when a warehouse is wrong."""
    with tempfile.TemporaryDirectory(prefix="millrace-own-") as directory:
        try:
            is_equal = demo(Path(directory))
        except MillraceError as error:
            print_message(error)
            is_equal = False
    if not is_equal:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
