"""Stage ingest: list the clips, look at each once, and divide them into splits.

Lists the networks and the stills in use too, for the stages that depend on them: this stage runs
every time, and those only when something changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from arpgnet.pipeline.common.errors import AbsentInputError
from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.common.wording import plural, shown
from arpgnet.pipeline.ingest.run import ingest, is_listed
from arpgnet.pipeline.networks import listed as networks
from arpgnet.pipeline.networks.listed import list_networks
from arpgnet.pipeline.networks.packs import load_pack
from arpgnet.pipeline.networks.trial import try_unlisted
from arpgnet.pipeline.runner.dispatch import pool_size
from arpgnet.pipeline.stills import listed as stills_list
from arpgnet.pipeline.stills.listed import write_stills_list
from arpgnet.pipeline.tables.manifest import OK, read_manifest, read_splits


def main() -> None:
    """Write the tables of clips, data/networks/ and data/stills.json."""
    params = load_params()
    workers, limits = pool_size(params.engine)
    dataset, pack = params.dataset, params.faces.pack
    stills, unlabeled = params.finetune, params.pretrain
    # problems of the pack are reported before the clips are read, and nothing is written
    installed = or_keep(
        lambda: try_unlisted(load_pack(pack)),
        lambda: networks.is_listed(pack),
        "data/networks",
    )
    or_keep(
        lambda: ingest(dataset, workers, limits=limits, faces=params.faces.source),
        lambda: is_listed(dataset),
        "data/manifest.parquet and the splits",
    )
    if installed:
        list_networks(pack)
    or_keep(
        lambda: write_stills_list(stills, workers, pretrain=unlabeled),
        lambda: stills_list.is_listed(stills, pretrain=unlabeled),
        "data/stills.json",
    )
    print(summary())


def or_keep(use: Callable[[], object], listed: Callable[[], bool], what: str) -> bool:
    """Use an input; return False where it is on another machine and its output, which was pulled,
    is kept.

    Raises:
        UserError: the input is absent, and what is there was made with other settings.
    """
    try:
        use()
    except AbsentInputError as error:
        if not listed():
            raise
        print(f"note: {error}. Kept as it is: {what}. Only stages that need the input will stop.")
        return False
    return True


def summary() -> str:
    """Summarize the written files in a few lines."""
    manifest = read_manifest()
    clips = manifest.clips
    folds = len(read_splits().column("fold").unique())
    subjects = len({clip.subject for clip in clips if clip.subject is not None})
    bad = Counter(clip.reason for clip in clips if clip.status != OK)
    lines = [
        f"{manifest.dataset}: {plural(len(clips), 'clip')} of "
        f"{plural(len(manifest.classes), 'class', 'classes')} ({', '.join(manifest.classes)}), "
        f"{plural(subjects, 'subject') if subjects else 'subjects unknown'}, "
        f"{manifest.notes['protocol']['protocol']} with {plural(folds, 'fold')}"
    ]
    near_duplicates = manifest.notes["near_duplicates"]
    if near_duplicates["clips"]:
        lines.append(
            f"{plural(near_duplicates['clips'], 'near-duplicate clip')} in "
            f"{plural(near_duplicates['sets'], 'group')}: each group stays on one side "
            "of every split"
        )
    unused = manifest.notes["unused_files"]
    if unused["count"]:
        lines.append(f"{plural(unused['count'], 'unused file')}, first: {unused['first'][0]}")
    lines += [f"{count} left out: {why}" for why, count in manifest.notes["left_out"].items()]
    lines += manifest.notes["remarks"]
    if bad:
        lines.append(
            f"{bad.total()} quarantined: "
            + "; ".join(f"{count} {reason}" for reason, count in bad.most_common())
        )
    return "\n".join(map(shown, lines))


if __name__ == "__main__":
    run(main)
