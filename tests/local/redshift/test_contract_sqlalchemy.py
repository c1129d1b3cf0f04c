"""The stand-in behind SQLAlchemy's Redshift dialect. Runs against a real cluster, too."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, select, text
from sqlalchemy.exc import InternalError, ProgrammingError


@pytest.fixture
def engine(redshift: Any) -> Any:
    engine = create_engine(redshift.url)
    yield engine
    engine.dispose()


def test_core_statements_work(redshift: Any, engine: Any) -> None:
    table = Table("t", MetaData(schema=redshift.schema), Column("id", Integer), Column("a", String(20)))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE {redshift.schema}.t (id INT, a VARCHAR(20))"))
        connection.execute(table.insert(), [{"id": 1, "a": "100% \\ ':x'"}, {"id": 2, "a": None}])
        assert connection.execute(select(table).order_by(table.c.id)).all() == [(1, "100% \\ ':x'"), (2, None)]


def test_a_failed_block_is_rolled_back(redshift: Any, engine: Any) -> None:
    with pytest.raises(ProgrammingError), engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {redshift.schema}.t (id INT)")
        connection.exec_driver_sql("SELECT nothing FROM nowhere")
    with engine.connect() as connection, pytest.raises(ProgrammingError):
        connection.exec_driver_sql(f"SELECT * FROM {redshift.schema}.t")


def test_errors_of_copy_are_internal_errors(redshift: Any, engine: Any) -> None:
    with pytest.raises(InternalError), engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {redshift.schema}.t (id INT)")
        location = f"s3://{redshift.bucket}/{redshift.schema}/nothing"
        connection.exec_driver_sql(redshift.copy_from(f"{redshift.schema}.t", location))
