"""Stage ingest: list the clips, look at each once, and divide them into splits.

Lists the networks and the stills in use too, for the stages that depend on them: this stage runs
every time, and those only when something changed.
"""

from __future__ import annotations

from collections import Counter

from arpgnet.pipeline.common.params import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.finetune.listed import write_stills_list
from arpgnet.pipeline.ingest.run import ingest
from arpgnet.pipeline.networks.listed import list_networks
from arpgnet.pipeline.networks.packs import describe_pack
from arpgnet.pipeline.runner.dispatch import pool_size
from arpgnet.pipeline.tables.manifest import OK, read_manifest, read_splits


def main() -> None:
    """Write the tables of clips, data/networks/ and data/stills.json."""
    params = load_params()
    workers, limits = pool_size(params.engine)
    # what is wrong with the pack is said before the clips are looked at
    describe_pack(params.faces.pack)
    ingest(params.dataset, workers, limits=limits, faces=params.faces.source)
    list_networks(params.faces.pack)
    write_stills_list(params.finetune, workers)
    print(summary())


def summary() -> str:
    """Return what the written files hold, in a few lines."""
    manifest = read_manifest()
    clips = manifest.clips
    folds = len(read_splits().column("fold").unique())
    subjects = len({clip.subject for clip in clips if clip.subject is not None})
    bad = Counter(clip.reason for clip in clips if clip.status != OK)
    lines = [
        f"{manifest.dataset}: {len(clips)} clips of {len(manifest.classes)} classes "
        f"({', '.join(manifest.classes)}), {subjects or 'no named'} "
        f"{'subject' if subjects == 1 else 'subjects'}, "
        f"{manifest.notes['protocol']['protocol']} with {folds} {'fold' if folds == 1 else 'folds'}"
    ]
    near_duplicates = manifest.notes["twins"]
    if near_duplicates["clips"]:
        lines.append(
            f"{near_duplicates['clips']} clips in {near_duplicates['sets']} sets show the same "
            "images: each set stays on one side"
        )
    unused = manifest.notes["unused_files"]
    if unused["count"]:
        lines.append(f"{unused['count']} files are not used, first: {unused['first'][0]}")
    lines += [f"{count} left out: {why}" for why, count in manifest.notes["left_out"].items()]
    lines += manifest.notes["remarks"]
    if bad:
        lines.append(
            f"{bad.total()} quarantined: "
            + "; ".join(f"{count} {reason}" for reason, count in bad.most_common())
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
