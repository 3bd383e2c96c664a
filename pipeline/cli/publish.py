"""`arpgnet publish`: a folder that others can use, and the check of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arpgnet.pipeline.common.errors import UserError


def publish_network(
    folder: Annotated[Path, typer.Argument(help="A new folder; with --check, a published one.")],
    run: Annotated[
        str | None, typer.Option(help="e.g. fold0-seed0; without it the best by validation.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Instead: read every file of the folder again.")
    ] = False,
) -> None:
    """Weights, ONNX, classes, settings and model card in one folder with checksums."""
    from arpgnet.pipeline.publish.sums import check_sums

    if check:
        if run is not None:
            raise UserError("--run and --check do not go together")
        typer.echo(f"{folder}: {check_sums(folder)} files, all as they were published")
        return
    from arpgnet.pipeline.common.params import load_params
    from arpgnet.pipeline.publish.write import publish

    done = publish(load_params(), folder, run=run)
    size = f"{done.bytes / 1e6:.1f} MB"
    typer.echo(f"{folder}: {done.run}, {done.files} files, {size}, all read again")
