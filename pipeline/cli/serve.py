"""`arpgnet serve`: predict in a browser."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from arpgnet.pipeline.common.errors import UserError


def serve_videos(
    host: Annotated[
        str, typer.Option(help="Address; beyond the loopback a token is asked for.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8765,
    model: Annotated[
        str | None,
        typer.Option(help="Another workspace, a published folder, or a Git revision."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="e.g. fold0-seed0; without it the best by validation.")
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds that are classified as one; else 1.5 training clips."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="A folder of videos that may be named by their paths.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="A folder for results that stay; else they go in the end.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="Its first line is the token; else ARPGNET_TOKEN.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="One more name that the service is reached by.")
    ] = None,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Of an upload.")] = 200.0,
    max_minutes: Annotated[float, typer.Option(min=0.01, help="Of a video.")] = 10.0,
    jobs: Annotated[int, typer.Option(min=1, help="Videos that are read at a time.")] = 1,
    queue: Annotated[int, typer.Option(min=0, help="Videos that may wait beside them.")] = 4,
    hours: Annotated[float, typer.Option(min=0.0, help="Then results are forgotten.")] = 24.0,
) -> None:
    """A web page to drop a video on: progress, results, the page of `predict --page`."""
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise UserError("serving needs two more packages: pip install 'arpgnet[serve]'")
    from arpgnet.pipeline.serve.app import Limits
    from arpgnet.pipeline.serve.run import ServeOptions, serve
    from arpgnet.pipeline.serve.worker import Source

    limits = Limits(round(max_mb * 1e6), max_minutes * 60, hours * 3600, keep is not None, root)
    options = ServeOptions(host, port, token_file, tuple(allow_host or ()), keep, jobs, queue)
    serve(Source(model, run, window, limits.longest_s), limits, options, say=typer.echo)
