"""`arpgnet serve`: predict in a browser."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from arpgnet.pipeline.common.errors import UserError


def serve_videos(
    host: Annotated[
        str, typer.Option(help="Address; other than loopback, a token is required.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8765,
    model: Annotated[
        str | None,
        typer.Option(help="Another workspace, a published folder, or a Git revision."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="e.g. fold0-seed0; default: best validation score.")
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds classified as one clip; default: 1.5 training clips."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="A folder of videos that users may select by path.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep results in this folder; default: deleted on exit.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File whose first line is the token; default: ARPGNET_TOKEN."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Additional host name of the service.")
    ] = None,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Largest upload in MB.")] = 200.0,
    max_minutes: Annotated[float, typer.Option(min=0.01, help="Longest video in minutes.")] = 10.0,
    jobs: Annotated[int, typer.Option(min=1, help="Videos processed in parallel.")] = 1,
    queue: Annotated[int, typer.Option(min=0, help="Videos that may wait in the queue.")] = 4,
    hours: Annotated[float, typer.Option(min=0.0, help="How long results are available.")] = 24.0,
) -> None:
    """Serve a web page to upload videos: progress, results, the page of `predict --page`."""
    missing = [name for name in ("fastapi", "uvicorn", "werkzeug") if find_spec(name) is None]
    if missing:
        raise UserError(f"not installed: {', '.join(missing)}: pip install 'arpgnet[serve]'")
    from arpgnet.pipeline.serve.app import Limits
    from arpgnet.pipeline.serve.run import ServeOptions, serve
    from arpgnet.pipeline.serve.worker import Source

    limits = Limits(round(max_mb * 1e6), max_minutes * 60, hours * 3600, keep is not None, root)
    options = ServeOptions(host, port, token_file, tuple(allow_host or ()), keep, jobs, queue)
    serve(Source(model, run, window, limits.longest_s), limits, options, say=typer.echo)
