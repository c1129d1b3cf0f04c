"""The command that collects messages of a queue."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli.command import AsJson, PipelineName, absolute_path, build_request, run_flow
from millrace.cli.options import StreamNames
from millrace.cli.replication import check_streams


def collect(
    pipeline: PipelineName,
    stream: StreamNames = None,
    seconds: Annotated[
        float | None, typer.Option(help="Stop after this time; 0: no limit.", show_default="240")
    ] = None,
    messages: Annotated[
        int | None, typer.Option(help="Stop after this many messages.", show_default="no limit")
    ] = None,
    keep_on: Annotated[bool, typer.Option("--keep-on", help="Go on when the queue is empty.")] = False,
    lanes: Annotated[int | None, typer.Option(help="Number of concurrent requests.", show_default="8")] = None,
    object_messages: Annotated[
        int | None, typer.Option(help="Write an object when this many messages wait.", show_default="5000")
    ] = None,
    flush_seconds: Annotated[
        float | None, typer.Option(help="The longest that a message waits for its object.", show_default="30")
    ] = None,
    visibility_seconds: Annotated[
        int | None,
        typer.Option(help="After this time, messages of a consumer that died go to another one.", show_default="60"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Collect messages of a queue into the lake, for `run` to load. Several may collect at once; Ctrl-C ends one."""
    from millrace.cli.show import print_collected, print_json
    from millrace.flows.collect import CollectRequest, extract_queue

    pace = {
        "lanes": lanes,
        "object_messages": object_messages,
        "flush_seconds": flush_seconds,
        "visibility_seconds": visibility_seconds,
    }
    chosen = {"pipeline": absolute_path(pipeline), "streams": stream, "messages": messages, "until_empty": not keep_on}
    request = build_request(CollectRequest, {"seconds": seconds or None, **chosen, **pace})
    check_streams(request)
    if seconds == 0:
        request = request.model_copy(update={"seconds": None})
    collected = run_flow(extract_queue(request))
    print_json(collected) if as_json else print_collected(collected)
