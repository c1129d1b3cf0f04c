"""The command that makes a table again from scratch."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.base.errors import ConfigurationError
from millrace.cli.command import (
    AsJson,
    DryRun,
    PipelineName,
    absolute_path,
    build_request,
    fail,
    refuse_options,
    run_flow,
)
from millrace.cli.options import AcceptRejects, AcceptSource, AllowDeletes
from millrace.cli.replication import build_replication, run_replication
from millrace.declaration.consent import Consent


def reload(
    pipeline: PipelineName,
    member: Annotated[str, typer.Argument(metavar="NAME", help="A stream's or a model's name.")],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Of a model. landing: every batch that was applied; source: the current rows.",
            show_default="landing",
        ),
    ] = None,
    accept_rejects: AcceptRejects = False,
    allow_deletes: AllowDeletes = False,
    accept_source: AcceptSource = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make a table again from scratch, and replace the existing one by it. Readers see the old or the new rows."""
    from millrace.declaration.find import find_pipeline

    try:
        declared = find_pipeline(absolute_path(pipeline))
        is_model = member in [model.name for model in declared.models]
        if not is_model and not declared.wildcards:
            declared.find(member)
    except ConfigurationError as error:
        fail(error)
    consent = Consent(accept_rejects, allow_deletes, accept_source)
    if not is_model:
        refuse_options({"from": source}, "a stream is reloaded from its source")
        run_replication(build_replication(pipeline, [member], "reload", dry_run=dry_run, consent=consent), as_json)
    else:
        refuse_options(
            {name: True for name, is_given in vars(consent).items() if is_given}, "a model is computed from batches"
        )
        _reload_model(
            {"pipeline": absolute_path(pipeline), "model": member, "source": source, "dry_run": dry_run}, as_json
        )


def _reload_model(asked: dict[str, object], as_json: bool) -> None:
    from millrace.cli.show import print_json, print_reload
    from millrace.flows.reload import ReloadRequest
    from millrace.flows.reload import reload as reload_flow

    done = run_flow(reload_flow(build_request(ReloadRequest, asked, {"source": "--from"})))
    print_json(done) if as_json else print_reload(done)
