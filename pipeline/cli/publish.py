"""`arpgnet publish`: write a folder that others can use, or check one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.wording import plural


def publish_network(
    folder: Annotated[Path, typer.Argument(help="A new folder; with --check, a published one.")],
    run: Annotated[
        str | None, typer.Option(help="e.g. fold0-seed0; default: best validation score.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Do not publish, but verify every file of the folder.")
    ] = False,
) -> None:
    """Write weights, ONNX, classes, settings and model card into one folder with checksums."""
    from arpgnet.pipeline.publish.sums import SUMS, check_sums

    if check:
        if run is not None:
            raise UserError("--run and --check cannot be combined")
        listed = check_sums(folder)
        typer.echo(f"{folder}: {plural(listed, 'file')} listed in {SUMS}, all unchanged")
        return
    from arpgnet.pipeline.common.params_file import load_params
    from arpgnet.pipeline.publish.write import publish

    done = publish(load_params(), folder, run=run)
    size = f"{done.bytes / 1e6:.1f} MB"
    typer.echo(f"{folder}: {done.run}, {plural(len(done.files), 'file')}, {size}")
    typer.echo(f"{', '.join(done.files)}; the {done.listed} listed in {SUMS} are verified")
