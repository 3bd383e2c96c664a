"""`arpgnet predict`: run a trained network on any video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.terminal import print_table


def predict_videos(
    videos: Annotated[list[Path], typer.Argument(help="Videos, folders of videos, or camera:0.")],
    run: Annotated[
        str | None,
        typer.Option(
            help="e.g. fold0-seed0, or ensemble: all seeds of the best run's fold; default: best."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Another workspace, a published folder, or a Git revision."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the tables.")] = Path("predictions"),
    form: Annotated[
        Literal["parquet", "csv", "jsonl", "openface", "pyfeat", "intervals"],
        typer.Option("--format", help="See docs/predict.md."),
    ] = "csv",
    faces: Annotated[
        Literal["all", "main"],
        typer.Option(help="Every face, or the one that training would choose."),
    ] = "all",
    landmarks: Annotated[
        bool,
        typer.Option("--landmarks", help="Add x_0.., y_0.. in pixels; overlay and page show them."),
    ] = False,
    window: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds classified as one clip; default: 1.5 training clips."),
    ] = None,
    stride: Annotated[
        float,
        typer.Option(
            min=0.001, help="Seconds, at most, from one window of a longer video to the next."
        ),
    ] = 0.2,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write the video with the results drawn on it.")
    ] = False,
    page: Annotated[
        bool, typer.Option("--page", help="Also write an HTML page: player, timelines, attention.")
    ] = False,
    attention: Annotated[
        bool, typer.Option(help="Whether the overlay colors faces by the network's attention.")
    ] = True,
    blur_faces: Annotated[
        bool,
        typer.Option("--blur-faces", help="Make all faces of overlay and page unrecognizable."),
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Stop a camera after this time; default: Ctrl-C.")
    ] = None,
) -> None:
    """Write a table per video: every face in every frame, with what is predicted of it."""
    from arpgnet.pipeline.predict.predictor import PredictOptions
    from arpgnet.pipeline.predict.run import predict
    from arpgnet.pipeline.predict.source import open_model

    if blur_faces and not (overlay or page):
        raise UserError("--blur-faces is for what shows faces: add --overlay or --page")
    options = PredictOptions(
        form,
        out,
        faces,
        landmarks,
        window,
        overlay,
        page,
        seconds,
        stride_s=stride,
        blur_faces=blur_faces,
        attention=attention,
    )
    network = open_model(model, run)
    if network.warning:
        typer.echo(f"warning: {network.warning}", err=True)
    good = predict(
        network,
        videos,
        options,
        say=typer.echo,
        warn=lambda line: typer.echo(f"error: {line}", err=True),
        remark=lambda line: typer.echo(f"warning: {line}", err=True),
        show=print_table,
    )
    if not good:
        raise typer.Exit(1)
