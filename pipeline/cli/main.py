"""`arpgnet`: the commands around a run. The pipeline itself runs with `dvc repro`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

import arpgnet
from arpgnet.pipeline.cli.data import AcceptLicense, data
from arpgnet.pipeline.cli.predict import predict_videos
from arpgnet.pipeline.cli.publish import publish_network
from arpgnet.pipeline.cli.serve import serve_videos
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.terminal import print_table
from arpgnet.pipeline.common.wording import plural

app = typer.Typer(
    help="ARPGNet: from face video to expression metrics. Run the pipeline with `dvc repro`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
models = typer.Typer(
    help="Face packs: the networks that detect faces, locate landmarks and compute features."
)
store = typer.Typer(help="The store: cached per-clip results and training runs.")

RUN_HELP = "a git revision, a DVC experiment, `workspace`, or a predictions file"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"arpgnet {arpgnet.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    """Options of `arpgnet` itself; the help's text is that of `app`."""


def main() -> None:
    """Run the command; a user error is one line on stderr and exit status 1."""
    try:
        app()
    except UserError as error:
        sys.exit(f"error: {error}")


@models.command("list")
def list_packs() -> None:
    """List the known packs with their licenses, and whether they are installed."""
    from arpgnet.pipeline.networks.packs import describe_all

    table = Table("pack", "installed", "license", "location")
    packs = describe_all()
    for status in packs:
        installed = "yes" if status.present and not status.problems else "no"
        where = str(status.folder or "")
        table.add_row(status.name, installed, status.license, escape(where))
    print_table(table)
    # a column would fold them to a word a line
    for problem in (problem for status in packs for problem in status.problems):
        typer.echo(problem)


@models.command("fetch")
def fetch_pack(
    pack: Annotated[str, typer.Argument(help="buffalo_l | buffalo_s | open")],
    accept_license: AcceptLicense = False,
    into: Annotated[
        Path | None, typer.Option(help="Folder for packs; default: the user's cache.")
    ] = None,
) -> None:
    """Download a pack and check every file's sha256; install it completely or not at all."""
    from arpgnet.pipeline.networks.fetch import fetch
    from arpgnet.pipeline.networks.packs import load_pack, user_models_folder, verify

    if into is None and not verify(pack):
        folder = load_pack(pack, ()).folder
        typer.echo(f"{pack}: already installed in {folder}, all files verified")
        return
    folder = fetch(pack, accept_license=accept_license, into=into or user_models_folder())
    typer.echo(f"{pack}: verified and installed in {folder}")


@models.command("verify")
def verify_pack(
    pack: Annotated[str, typer.Argument(help="a pack's name, or a folder with a pack.yaml")],
) -> None:
    """Verify the sha256 of every file of a pack."""
    from arpgnet.pipeline.networks.packs import verify

    problems = verify(pack)
    if problems:
        raise UserError("; ".join(problems))
    typer.echo(f"{pack}: all files verified")


@store.command("stats")
def store_stats() -> None:
    """Show entries, cached failures and megabytes per namespace, and what lies beside them."""
    from arpgnet.pipeline.store import Store, folder_of

    cache = Store()
    table = Table("namespace", "entries", "failures", "MB", title=escape(str(cache.root)))
    for namespace, stats in cache.stats().items():
        table.add_row(
            namespace, str(stats.entries), str(stats.failures), f"{stats.bytes / 1e6:.1f}"
        )
    print_table(table)
    where = escape(str(folder_of(cache.root)))
    beside = Table("folder", "files", "MB", title=f"beside the entries, in {where}")
    for name, stats in cache.local_files().items():
        beside.add_row(name, str(stats.entries), f"{stats.bytes / 1e6:.1f}")
    if beside.row_count:
        print_table(beside)


@store.command("verify")
def store_verify() -> None:
    """Verify every entry; damaged ones are deleted and will be recomputed."""
    from arpgnet.pipeline.store import Store

    damaged = Store().verify()
    typer.echo(f"{plural(len(damaged), 'damaged entry', 'damaged entries')} deleted")


@store.command("gc")
def store_gc(
    unused_days: Annotated[
        float, typer.Option(help="Delete entries unused for this many days.")
    ] = 60.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be deleted.")
    ] = False,
) -> None:
    """Delete entries that no run has used for a while."""
    from arpgnet.pipeline.store import Store

    removed = Store().gc(unused_days=unused_days, dry_run=dry_run)
    verb = "would be deleted" if dry_run else "deleted"
    entries = plural(removed.entries, "entry", "entries")
    typer.echo(f"{entries}, {removed.bytes / 1e6:.1f} MB {verb}")


def compare_runs(
    a: Annotated[str, typer.Argument(help=RUN_HELP)],
    b: Annotated[str, typer.Argument(help="the same")],
    json_file: Annotated[
        str | None, typer.Option("--json", help="Write the numbers to a file; - means stdout.")
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare on the test clips that both runs have.")
    ] = False,
) -> None:
    """Compare two runs on the same test clips: paired bootstrap over subjects, McNemar's test."""
    from arpgnet.pipeline.common.params_file import load_params
    from arpgnet.pipeline.compare.run import compare
    from arpgnet.pipeline.compare.sources import read_side
    from arpgnet.pipeline.compare.table import sentences, table
    from arpgnet.pipeline.tables.text_files import json_text, write_json

    result = compare(read_side(a), read_side(b), load_params().evaluate, common=common)
    if json_file == "-":
        typer.echo(json_text(result), nl=False)
        return
    if json_file:
        write_json(result, Path(json_file))
    print_table(table(result))
    for line in sentences(result):
        typer.echo(line)


def ablate_network(
    rows: Annotated[
        str | None, typer.Option(help="Names of ablations, separated by commas; default: all.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Number of parallel experiments.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would run.")] = False,
    list_rows: Annotated[bool, typer.Option("--list", help="Only list the ablations.")] = False,
) -> None:
    """Retrain the network with one part changed or removed, and add the results to the report."""
    from arpgnet.pipeline.ablate.experiments import check_base, is_finished, override
    from arpgnet.pipeline.ablate.rows import choose
    from arpgnet.pipeline.ablate.run import ablate
    from arpgnet.pipeline.common.params_file import load_params

    params = load_params()
    chosen = choose(None if rows is None else [name.strip() for name in rows.split(",")], params)
    if not (list_rows or dry_run):
        ablate(params, chosen, jobs=jobs, say=typer.echo)
        return
    if dry_run:
        check_base(Path())
    shown = Table("name", "group", "change", *(["experiment"] if dry_run else []))
    shown.add_column("settings", min_width=27)  # one per line
    for row in chosen:
        changes = "\n".join(override(*pair) for pair in row.settings.items())
        state = ["finished" if is_finished(row, Path()) else "would run"] if dry_run else []
        shown.add_row(row.name, row.group, row.what, *state, escape(changes))
    print_table(shown)


def export_network(
    run: Annotated[
        str | None, typer.Option(help="e.g. fold0-seed0; default: best validation score.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")] = Path("model.onnx"),
    check: Annotated[
        Path | None,
        typer.Option(help="Do not export, but run the stored clips through this ONNX file."),
    ] = None,
) -> None:
    """Export a trained network to ONNX for any number of clips and frames; or check such a file."""
    if check is not None:
        from arpgnet.pipeline.export.check import check as check_file

        found = check_file(check)
        line = (
            f"{check}, {found.run}: {plural(found.predictions, 'stored prediction')}, largest "
            f"difference {found.difference:.1e}, {found.predicted_differently} predicted "
            "differently"
        )
        if not found.ok:
            raise UserError(line)
        typer.echo(line)
        return
    from arpgnet.pipeline.common.params_file import load_params
    from arpgnet.pipeline.export.write import export

    written = export(load_params(), out, run=run)
    typer.echo(f"{out}: {written.run}, largest difference from torch {written.difference:.1e}")


def doctor(
    repair: Annotated[
        bool,
        typer.Option("--repair", help="only delete files of DVC that a killed run left damaged"),
    ] = False,
) -> None:
    """Check the installation: packages, devices, face packs, store, repository, settings."""
    if repair:
        from arpgnet.pipeline.cli.dvc_files import remove_damaged

        for path in remove_damaged():
            typer.echo(f"deleted {path}, which a killed run left damaged; DVC writes it again")
        return
    from arpgnet.pipeline.cli.doctor import examine

    findings = examine()
    table = Table("", "check", "found", "what to do", show_lines=False)
    for finding in findings:
        # a remedy beside what is in order is for a command that not everybody uses
        good = "[yellow]optional[/]" if finding.remedy else "[green]ok[/]"
        mark = good if finding.ok else "[red]!![/]"
        texts = (finding.what, finding.found, finding.remedy)
        table.add_row(mark, *map(escape, texts))
    print_table(table)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


# in the order of the work, which is that of `arpgnet --help`
PREPARE, EVALUATE = "Prepare (then `dvc repro` trains)", "Evaluate"
USE, MAINTAIN = "Use a trained network", "Maintain"
app.command("doctor", rich_help_panel=PREPARE)(doctor)
app.add_typer(data, name="data", no_args_is_help=True, rich_help_panel=PREPARE)
app.add_typer(models, name="models", no_args_is_help=True, rich_help_panel=PREPARE)
app.command("compare", rich_help_panel=EVALUATE)(compare_runs)
app.command("ablate", rich_help_panel=EVALUATE)(ablate_network)
app.command("predict", no_args_is_help=True, rich_help_panel=USE)(predict_videos)
app.command("serve", rich_help_panel=USE)(serve_videos)
app.command("export", rich_help_panel=USE)(export_network)
app.command("publish", rich_help_panel=USE)(publish_network)
app.add_typer(store, name="store", no_args_is_help=True, rich_help_panel=MAINTAIN)


if __name__ == "__main__":
    main()
