"""`stori`: bank transactions from Postgres and trades from MongoDB, every twenty minutes.

What does not belong here: the contracts (contracts.py) and the sample data (seed_data/stori).
"""

from millrace import Incremental, Merge, Pipeline, Stream
from millrace.pipelines.stori.contracts import Transaction

pipeline = Pipeline(
    name="stori",
    schedule="*/20 * * * *",
    streams=[
        Stream(
            "transactions",
            source="postgres:public.transactions",
            key="transaction_no",
            capture=Incremental("updated_at"),
            contract=Transaction,
            load=Merge(),
            sweep="daily",
        ),
        Stream(
            "trades",
            source="mongo:finance.trades",
            key="id",
            capture=Incremental("updatedAt"),
            load=Merge(),
            sweep="daily",
        ),
    ],
)
