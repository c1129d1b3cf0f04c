"""Flows that import files into the two sources of the pipeline `stori`.

`seed` generates the files, `import-files` takes those of a user. Both land them first.
"""

from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from pydantic import Field, FilePath, field_validator

from millrace.flows.gather import gather_results, raise_all
from millrace.flows.parameters import FlowParameters
from millrace.seed_data.stori.generate import Header
from millrace.seed_data.stori.outcome import Outcome
from millrace.seed_data.stori.tasks import (
    import_landed_trades,
    import_landed_transactions,
    land_file,
    land_trades,
    land_transactions,
)

ARTIFACT_KEY = "seed-stori"


class SeedRequest(FlowParameters):
    """What to generate. Equal requests give equal files, and a file is imported once."""

    rows: int = Field(default=116_201, ge=1, le=50_000_000, description="Bank transactions in txns.csv.")
    accounts: int = Field(default=10, ge=1, le=100_000, description="Accounts the transactions spread over.")
    documents: int = Field(default=20_000, ge=1, le=10_000_000, description="Trades in trades.json.")
    seed: int = Field(default=1, ge=0, le=2**32 - 1, description="Other seeds give other data.")
    header: Header = Field(default="spaced", description="How txns.csv spells its header; both occur in the wild.")


DEFAULT_REQUEST = SeedRequest()
IMPORTERS = {".csv": import_landed_transactions, ".json": import_landed_trades}
"""The importer by the ending of a file's name."""


class ImportRequest(FlowParameters):
    """Whole files, as the makers of the data give them. A file is imported once."""

    files: tuple[FilePath, ...] = Field(description="Bank transactions (.csv) and trades (.json), where the flow runs.")

    @field_validator("files")
    @classmethod
    def _check_endings(cls, files: tuple[Path, ...]) -> tuple[Path, ...]:
        if not files:
            raise ValueError("name a file at least")
        for path in files:
            if path.suffix.lower() not in IMPORTERS:
                raise ValueError(f"{path.name} is neither a .csv file (transactions) nor a .json file (trades)")
        return files


@dataclass(frozen=True)
class SeedReport:
    """What happened with each file."""

    files: tuple[Outcome, ...]


@flow(name="seed", flow_run_name="stori: {request.rows} transactions, {request.documents} trades", persist_result=False)
async def seed(request: SeedRequest = DEFAULT_REQUEST) -> SeedReport:
    """Generate both files, land them, import them side by side; each import keeps its rejected records.

    Raises the error of an import that failed (an ExceptionGroup if both did), after the other has ended.
    """
    return await _report([_seed_transactions(request), _seed_trades(request)])


@flow(name="import-files", flow_run_name="stori: files", persist_result=False)
async def import_files(request: ImportRequest) -> SeedReport:
    """Land files and import them side by side. Raises as `seed` does."""
    return await _report([_import(path) for path in request.files])


async def _report(imports: Sequence[Coroutine[Any, Any, Outcome]]) -> SeedReport:
    outcomes, failures = await gather_results(imports)
    if len(failures) == 1:
        raise failures[0]
    raise_all(failures)
    await acreate_table_artifact(
        key=ARTIFACT_KEY,
        table=[_row(outcome) for outcome in outcomes],
        description="Records of each file. Rejected ones are kept in the landing zone with their reasons.",
    )
    return SeedReport(tuple(outcomes))


def _row(outcome: Outcome) -> dict[str, Any]:
    reasons = "; ".join(f"{one.records} {one.reason}" for one in outcome.reasons)
    return {"read": outcome.read, **asdict(outcome), "reasons": reasons}


async def _seed_transactions(request: SeedRequest) -> Outcome:
    key = await land_transactions(request.rows, request.accounts, request.seed, request.header)
    return await import_landed_transactions(key)


async def _seed_trades(request: SeedRequest) -> Outcome:
    return await import_landed_trades(await land_trades(request.documents, request.seed))


async def _import(path: Path) -> Outcome:
    return await IMPORTERS[path.suffix.lower()](await land_file(str(path)))
