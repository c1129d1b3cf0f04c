"""The flow `seed`: sample data of the pipeline `stori`, generated, landed and imported into its two sources.

What does not belong here: the steps themselves (tasks/seeding.py).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from pydantic import Field

from flows.form import Form
from flows.together import raise_all, together
from seed_data.stori.generate import Header
from seed_data.stori.outcome import Outcome
from tasks.seeding import import_landed_trades, import_landed_transactions, land_trades, land_transactions

ARTIFACT_KEY = "seed-stori"


class SeedRequest(Form):
    """What to generate. Equal requests give equal files, and a file is imported once."""

    rows: int = Field(default=116_201, ge=1, le=50_000_000, description="Bank transactions in txns.csv.")
    accounts: int = Field(default=10, ge=1, le=100_000, description="Accounts the transactions spread over.")
    documents: int = Field(default=20_000, ge=1, le=10_000_000, description="Trades in trades.json.")
    seed: int = Field(default=1, ge=0, le=2**32 - 1, description="Other seeds give other data.")
    header: Header = Field(default="spaced", description="How txns.csv spells its header; both occur in the wild.")


DEFAULT_REQUEST = SeedRequest()


@dataclass(frozen=True)
class SeedReport:
    """What became of the two files."""

    transactions: Outcome
    trades: Outcome


@flow(name="seed", flow_run_name="stori: {request.rows} transactions, {request.documents} trades", persist_result=False)
async def seed(request: SeedRequest = DEFAULT_REQUEST) -> SeedReport:
    """Generate both files, land them, import them side by side; each import keeps its rejected records.

    Raises the error of an import that failed (an ExceptionGroup if both did), after the other has ended.
    """
    imported, failures = await together([_seed_transactions(request), _seed_trades(request)])
    if len(failures) == 1:
        raise failures[0]
    raise_all(failures)
    transactions, trades = imported
    await acreate_table_artifact(
        key=ARTIFACT_KEY,
        table=[{"read": outcome.read, **asdict(outcome)} for outcome in (transactions, trades)],
        description="Records of each generated file. Rejected ones are kept in the landing zone with their reasons.",
    )
    return SeedReport(transactions, trades)


async def _seed_transactions(request: SeedRequest) -> Outcome:
    key = await land_transactions(request.rows, request.accounts, request.seed, request.header)
    return await import_landed_transactions(key)


async def _seed_trades(request: SeedRequest) -> Outcome:
    return await import_landed_trades(await land_trades(request.documents, request.seed))
