"""The commands `seed` and `simulate`: sample data for the sources of the sample pipelines."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from millrace.base.errors import ConfigurationError
from millrace.cli.command import AsJson, build_request, fail, refuse_options, run_flow

SilentRate = Annotated[
    float | None, typer.Option(help="totesys: factor on silent edits and deletes.", show_default="1, as measured")
]
RareRate = Annotated[
    float | None,
    typer.Option(help="stocks: factor on deletes, silent edits and other rare events.", show_default="1: once a month"),
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
    seed: Annotated[int, typer.Option(min=0, help="Another seed generates other data.")] = 1,
    silent_rate: SilentRate = None,
    rare_rate: RareRate = None,
    as_json: AsJson = False,
) -> None:
    """Generate sample data, or read files, and write the rows into the sources."""
    from millrace.cli.show import print_json, print_seeded, print_simulated
    from millrace.seed_data.simulate import FillRequest, FillStocksRequest, fill, fill_stocks
    from millrace.seed_data.stori.flow import ImportRequest, SeedRequest, import_files
    from millrace.seed_data.stori.flow import seed as seed_flow

    sizes, history = {"rows": rows, "documents": documents}, {"days": days, "start": start and start.date()}
    files = {"file": file or None}
    silent, rare = {"silent_rate": silent_rate}, {"rare_rate": rare_rate}
    if pipeline == "stori":
        refuse_options({**history, **silent, **rare}, "stori is not simulated")
        if file:
            refuse_options(sizes, "a file is imported as it is")
            report = run_flow(import_files(build_request(ImportRequest, {"files": file}, {"files": "--file"})))
        else:
            report = run_flow(seed_flow(build_request(SeedRequest, {"seed": seed, **sizes})))
        print_json(report) if as_json else print_seeded(report)
    elif pipeline == "totesys":
        refuse_options({**sizes, **files, **rare}, "totesys is measured in days, its quiet events by --silent-rate")
        filled = run_flow(fill(build_request(FillRequest, {"seed": seed, **history, **silent})))
        print_json(filled) if as_json else print_simulated(filled)
    elif pipeline == "stocks":
        refuse_options({**sizes, **files, **silent}, "stocks is measured in days, its rare events by --rare-rate")
        filled = run_flow(fill_stocks(build_request(FillStocksRequest, {"seed": seed, **history, **rare})))
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
    seed: Annotated[
        int | None, typer.Option(help="events: another seed generates other events.", show_default="1")
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(help="events: the first moment (UTC); the past is sent at once.", show_default="now"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate activity in a sample source, at --speed until now, then in real time."""
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
        refuse_options({**rare, **sending}, "totesys has --silent-rate")
        simulated = run_flow(simulate_totesys(build_request(SimulateRequest, {**silent, **life})))
        print_json(simulated) if as_json else print_simulated(simulated)
    elif pipeline == "stocks":
        refuse_options({**silent, **sending}, "stocks has --rare-rate")
        simulated = run_flow(simulate_stocks(build_request(SimulateStocksRequest, {**rare, **life})))
        print_json(simulated) if as_json else print_simulated(simulated)
    elif pipeline == "events":
        refuse_options({**life, **silent, **rare}, "events come at a --rate")
        sent = run_flow(simulate_events(build_request(SimulateEventsRequest, sending)))
        print_json(sent) if as_json else print_sent(sent)
    else:
        fail(ConfigurationError(f"there is no simulation of {pipeline!r}", remedy="choose totesys, stocks or events"))
