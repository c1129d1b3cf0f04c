"""`stocks`: a stock platform in MySQL, daily, as dimensions with every version and a fact bound to those of its time.

A run shows the state of the day before, in the platform's time (UTC+7).

What does not belong here: contracts of the source (contracts.py), tables of the warehouse (schemas.py), views
(sql/stocks/views.sql).
"""

from __future__ import annotations

from datetime import timedelta

from millrace import Append, Bind, Dated, Incremental, Model, Pipeline, Scd2, Snapshot, Stream
from millrace.pipelines.stocks import contracts as contracts
from millrace.pipelines.stocks import models as models
from millrace.pipelines.stocks import schemas as schemas

SOURCE = "mysql/stocks:stock_db."
A_SECOND = timedelta(seconds=1)
"""Before its successor starts, a version ends in this star."""

pipeline = Pipeline(
    name="stocks",
    schedule="30 17 * * *",
    schema="stocks_source",
    model_schema="stocks",
    warehouse="stocks",
    dated=Dated("stock_db", zone="Asia/Jakarta", days_before=1),
    # The platform stamps by its wall clock, and says no zone.
    stamps_in="Asia/Jakarta",
    views="stocks/views.sql",
    streams=[
        Stream("stock", SOURCE + "stock", "stock_id", Snapshot(), contract=contracts.Stock),
        # Swept, because some of its rows are changed without a stamp, and deleted.
        Stream(
            "user", SOURCE + "user", "user_id", Incremental("updated_at"), contract=contracts.User, sweep="every run"
        ),
        Stream(
            "transaction",
            SOURCE + "transaction",
            "transaction_id",
            Incremental("transaction_date"),
            load=Append(),
            contract=contracts.StockTransaction,
        ),
    ],
    models=[
        Model(models.stock_dim, schemas.StockDim, "stock_id", load=Scd2("stock_key", gap=A_SECOND)),
        Model(
            models.user_dim,
            schemas.UserDim,
            "user_id",
            load=Scd2("user_key", effective_from="updated_at", gap=A_SECOND),
        ),
        Model(
            models.transaction_fact,
            schemas.TransactionFact,
            "transaction_id",
            load=Append(),
            binds=[
                Bind("user_key", "user_dim", by="user_id", at="transaction_date"),
                Bind("stock_key", "stock_dim", by="stock_id", at="transaction_date"),
            ],
        ),
    ],
)
