"""`millrace test`: a pipeline's contracts, shapes and models on rows of files, without any server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from millrace.base.errors import MillraceError
from millrace.cli.command import FAILED, AsJson, absolute_path, fail, print_message


def test(
    pipeline: Annotated[str, typer.Argument(help="A pipeline's name, file.py:attribute, or package.module:attribute.")],
    stream: Annotated[
        list[str] | None, typer.Option("--stream", "-s", help="Only this stream, without models (repeatable).")
    ] = None,
    fixtures: Annotated[
        Path | None, typer.Option(help="Folder with <stream>.jsonl.", show_default="fixtures beside the pipeline")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the results as what is expected from now on, into expected/.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run contracts, shapes and models on fixture rows, and compare with expected/. Needs no server."""
    from millrace.cli.show import print_fixtures, print_json, print_lines
    from millrace.declaration.find import find_folder, find_pipeline
    from millrace.fixtures.compare import describe_rows, find_differences, write_expected
    from millrace.fixtures.run_fixtures import run_fixtures

    name = absolute_path(pipeline)
    try:
        declared = find_pipeline(name)
        folder = fixtures or find_folder(name) / "fixtures"
        results = run_fixtures(declared, folder, declared.choose_streams(stream or ()))
    except MillraceError as error:
        fail(error)
    differences = [] if write else find_differences(folder, results)
    if as_json:
        rows = {result.name: [orjson.loads(line) for line in describe_rows(result)] for result in results}
        print_json({"rows": rows, "differences": differences})
    else:
        print_fixtures(results)
        print_lines(differences)
    for file in write_expected(folder, results) if write else ():
        print_message(f"wrote {file}")
    if differences:
        print_message("the results differ from what is expected; add --write if they are right")
        raise typer.Exit(FAILED)
