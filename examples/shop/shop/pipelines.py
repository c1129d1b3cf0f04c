"""What the shop replicates."""

import dataframely as dy

from millrace import Incremental, Pipeline, Stream


class Order(dy.Schema):
    """What a row of the table must meet."""

    id = dy.Int32(primary_key=True)
    customer = dy.String(nullable=False)
    amount = dy.Decimal(10, 2, min=0)


pipeline = Pipeline(
    name="shop",
    schedule="*/20 * * * *",
    streams=[
        Stream("orders", "postgres:public.orders", "id", Incremental("updated_at"), contract=Order, sweep="daily"),
    ],
)
