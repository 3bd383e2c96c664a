"""`arpgnet data`: list the supported data sets, fetch one, check a copy of one, use it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.terminal import print_table
from arpgnet.pipeline.common.wording import shown

if TYPE_CHECKING:
    from arpgnet.pipeline.ingest.dry_run import Findings

data = typer.Typer(help="Public data sets: list them, fetch one, check your copy of one, use it.")

AcceptLicense = Annotated[
    bool,
    typer.Option(
        "--accept-license", "--accept-licence", help="I have read the license and accept it."
    ),
]
MARKS = {"ok": "[green]ok[/]", "differs": "[red]differs[/]", "unknown": "unknown"}


@data.command("list")
def list_sets(
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/datasets.md, as Markdown.")
    ] = False,
) -> None:
    """List every supported data set: counts, protocol, metric, license, and how to get it."""
    from arpgnet.pipeline.datasets.listing import ON_REQUEST, markdown, rows

    if as_markdown:
        typer.echo(markdown(), nl=False)
        return
    # ten columns do not fit a terminal
    table = Table("name", "title, license, variants", "counts", "protocol, metric", show_lines=True)
    for row in rows():
        name, title, clips, subjects, classes, protocol, metric, license_, variants, fetch = row
        known = [
            title,
            license_,
            f"variants: {variants}" if variants else "",
            "on request only" if fetch == ON_REQUEST else f"data fetch {name}: {fetch}",
        ]
        numbers = {"clips": clips, "subjects": subjects, "classes": classes}
        counts = [f"{number} {what}" for what, number in numbers.items() if number]
        cells = [[name], [line for line in known if line], counts, [protocol, metric]]
        table.add_row(*(escape("\n".join(lines)) for lines in cells))
    print_table(table)


@data.command("fetch")
def fetch_set(
    name: Annotated[str, typer.Argument(help="ravdess | cremad | enterface05")],
    root: Annotated[Path, typer.Argument(help="the folder to put it into")],
    accept_license: AcceptLicense = False,
    variant: Annotated[
        str | None, typer.Option(help="Like dataset.variant; default: that of the preset.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Ask this server instead, by the publisher's paths.")
    ] = None,
    pack: Annotated[
        bool, typer.Option("--pack/--no-pack", help="Also fetch the face pack of the preset.")
    ] = True,
) -> None:
    """Download a free data set from its publisher, check it and unpack what the preset uses."""
    from arpgnet.pipeline.datasets.fetching.run import fetch

    fetch(
        name,
        root,
        accept_license=accept_license,
        variant=variant,
        server=server,
        with_pack=pack,
        say=typer.echo,
    )


@data.command("check")
def check_set(
    name: Annotated[str | None, typer.Argument(help="e.g. rml; default: as in params.yaml")] = None,
    root: Annotated[str | None, typer.Argument(help="the data set's folder")] = None,
    variant: Annotated[
        str | None, typer.Option(help="Like dataset.variant in params.yaml.")
    ] = None,
    faces: Annotated[
        Literal["detect", "aligned"] | None, typer.Option(help="Like faces.source in params.yaml.")
    ] = None,
    manifest: Annotated[
        str | None, typer.Option(help="Like dataset.manifest in params.yaml.")
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Like dataset.follow_links in params.yaml.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file again, even if its time is unchanged.")
    ] = False,
) -> None:
    """Compare a copy of a data set with its documentation; exit status 1 if they differ.

    Without NAME, also check that the classes and splits of params.yaml are possible.
    """
    from arpgnet.pipeline.common.params_file import load_params, parse_params
    from arpgnet.pipeline.ingest.dry_run import check, check_plan
    from arpgnet.pipeline.runner.dispatch import pool_size

    if name is None:
        if variant or manifest or follow_links:
            raise UserError("--variant, --manifest and --follow-links require NAME and ROOT")
        params = load_params()
    else:
        chosen = {
            "name": name,
            "root": root,
            "variant": variant,
            "manifest": manifest,
            "follow_links": follow_links,
        }
        params = parse_params({"dataset": chosen}, "arpgnet data check NAME ROOT")
    workers, limits = pool_size(params.engine)
    source = faces or params.faces.source
    found = check(params.dataset, source, workers, limits, verify=verify)
    for findings in found:
        _print(findings)
    if name is None:
        # after the tables, which show where clips are missing
        plan = check_plan(params.dataset, source, workers, limits)
        typer.echo(f"classes and splits: possible ({plan})")
    else:
        typer.echo(
            "not checked: classes and splits (`arpgnet data check` alone checks params.yaml's)"
        )
    if not all(findings.ok for findings in found):
        raise typer.Exit(1)


@data.command("use")
def use_preset(
    name: Annotated[str, typer.Argument(help="a preset of params/, a YAML file, or demo")],
    root: Annotated[str | None, typer.Argument(help="the data set's folder")] = None,
    manifest: Annotated[
        str | None, typer.Option(help="Like dataset.manifest in params.yaml.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="Like dataset.variant in params.yaml.")
    ] = None,
) -> None:
    """Write a preset into params.yaml; settings of an earlier preset return to their defaults."""
    from arpgnet.pipeline.datasets.presets import use

    for line in use(name, root, manifest=manifest, variant=variant):
        typer.echo(line)


def _print(findings: Findings) -> None:
    table = Table(
        "", "expected", "found", "", title=escape(shown(findings.title)), title_justify="left"
    )
    for line in findings.lines:
        table.add_row(escape(line.what), line.expected, line.found, MARKS[line.state])
    print_table(table)
    for remark in findings.remarks:
        typer.echo(remark)
    for line in findings.lines:
        if line.first:
            typer.echo(f"{line.what}, first: {', '.join(map(shown, line.first))}")
