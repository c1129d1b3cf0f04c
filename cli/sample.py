"""The commands `seed` and `simulate`: sample data for the pipelines' sources."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from millrace.base.errors import ConfigurationError
from millrace.cli.asking import AsJson, awaited, fail, refuse, valid

SilentRate = Annotated[
    float | None, typer.Option(help="totesys: factor on silent edits and deletes.", show_default="1, as measured")
]
RareRate = Annotated[
    float | None,
    typer.Option(help="stocks: factor on deletes, silent edits and the like.", show_default="1, each once a month"),
]


def seed(
    pipeline: Annotated[str, typer.Argument(help="stori, totesys or stocks.")],
    rows: Annotated[int | None, typer.Option(min=1, help="stori: bank transactions.", show_default="116201")] = None,
    documents: Annotated[int | None, typer.Option(min=1, help="stori: trades.", show_default="20000")] = None,
    file: Annotated[
        list[Path] | None, typer.Option(help="stori: import this txns.csv or trades.json instead; may be repeated.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="totesys, stocks: simulated days.", show_default="730 and 30")
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="totesys, stocks: the first day.", show_default="leaves a week until today"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds give other data.")] = 1,
    silent_rate: SilentRate = None,
    rare_rate: RareRate = None,
    as_json: AsJson = False,
) -> None:
    """Generate sample data, or take files, and import them into the sources."""
    from millrace.cli.show import print_json, print_seeded, print_simulated
    from millrace.seed_data.simulate import FillRequest, FillStocksRequest, fill, fill_stocks
    from millrace.seed_data.stori.flow import ImportRequest, SeedRequest, import_files
    from millrace.seed_data.stori.flow import seed as seed_flow

    own, history = {"rows": rows, "documents": documents}, {"days": days, "start": start and start.date()}
    files = {"file": file or None}
    silent, rare = {"silent_rate": silent_rate}, {"rare_rate": rare_rate}
    if pipeline == "stori":
        refuse({**history, **silent, **rare}, "stori is not simulated")
        if file:
            refuse(own, "a file is imported as it is")
            report = awaited(import_files(valid(ImportRequest, {"files": file}, {"files": "--file"})))
        else:
            report = awaited(seed_flow(valid(SeedRequest, {"seed": seed, **own})))
        print_json(report) if as_json else print_seeded(report)
    elif pipeline == "totesys":
        refuse({**own, **files, **rare}, "totesys is measured in days, its quiet events by --silent-rate")
        filled = awaited(fill(valid(FillRequest, {"seed": seed, **history, **silent})))
        print_json(filled) if as_json else print_simulated(filled)
    elif pipeline == "stocks":
        refuse({**own, **files, **silent}, "stocks is measured in days, its rare events by --rare-rate")
        filled = awaited(fill_stocks(valid(FillStocksRequest, {"seed": seed, **history, **rare})))
        print_json(filled) if as_json else print_simulated(filled)
    else:
        fail(ConfigurationError(f"there is no sample data for {pipeline!r}", remedy="choose stori, totesys or stocks"))


def simulate(
    pipeline: Annotated[str, typer.Argument(help="totesys, stocks or events.")],
    speed: Annotated[
        float | None, typer.Option(help="totesys, stocks: simulated seconds in a real one.", show_default="1")
    ] = None,
    days: Annotated[
        float | None, typer.Option(help="totesys, stocks: simulated days, then end.", show_default="until Ctrl-C")
    ] = None,
    silent_rate: SilentRate = None,
    rare_rate: RareRate = None,
    rate: Annotated[float | None, typer.Option(help="events: messages a second.", show_default="10")] = None,
    count: Annotated[int | None, typer.Option(help="events: messages, then end.", show_default="until Ctrl-C")] = None,
    duplicates: Annotated[
        float | None, typer.Option(help="events: share that repeat an earlier one.", show_default="0.01")
    ] = None,
    malformed: Annotated[
        float | None, typer.Option(help="events: share that break the contract.", show_default="0.005")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="events: other seeds give others.", show_default="1")] = None,
    start: Annotated[
        datetime | None,
        typer.Option(help="events: the first moment (UTC); the past is sent at once.", show_default="now"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a sample source live on, faster than it did, until the present and then with it."""
    from millrace.cli.show import print_json, print_sent, print_simulated
    from millrace.seed_data.simulate import (
        SimulateEventsRequest,
        SimulateRequest,
        SimulateStocksRequest,
        simulate_events,
        simulate_stocks,
    )
    from millrace.seed_data.simulate import simulate as simulate_totesys

    life, silent, rare = {"speed": speed, "days": days}, {"silent_rate": silent_rate}, {"rare_rate": rare_rate}
    shares = {"duplicates": duplicates, "malformed": malformed}
    sending = {"rate": rate, "count": count, **shares, "seed": seed, "start": start and start.replace(tzinfo=UTC)}
    if pipeline == "totesys":
        refuse({**rare, **sending}, "totesys has --silent-rate")
        simulated = awaited(simulate_totesys(valid(SimulateRequest, {**silent, **life})))
        print_json(simulated) if as_json else print_simulated(simulated)
    elif pipeline == "stocks":
        refuse({**silent, **sending}, "stocks has --rare-rate")
        simulated = awaited(simulate_stocks(valid(SimulateStocksRequest, {**rare, **life})))
        print_json(simulated) if as_json else print_simulated(simulated)
    elif pipeline == "events":
        refuse({**life, **silent, **rare}, "events come at a --rate")
        sent = awaited(simulate_events(valid(SimulateEventsRequest, sending)))
        print_json(sent) if as_json else print_sent(sent)
    else:
        fail(ConfigurationError(f"there is no simulation of {pipeline!r}", remedy="choose totesys, stocks or events"))
