"""Stage ingest: list the clips, look at each once, and divide them into splits.

Lists the networks and the stills in use too, for the stages that depend on them: this stage runs
every time, and those only when something changed.
"""

from __future__ import annotations

from collections import Counter

from arpgnet.pipeline.common.params import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.common.wording import plural, shown
from arpgnet.pipeline.finetune.listed import write_stills_list
from arpgnet.pipeline.ingest.run import ingest
from arpgnet.pipeline.networks.listed import list_networks
from arpgnet.pipeline.networks.packs import load_pack
from arpgnet.pipeline.runner.dispatch import pool_size
from arpgnet.pipeline.tables.manifest import OK, read_manifest, read_splits


def main() -> None:
    """Write the tables of clips, data/networks/ and data/stills.json."""
    params = load_params()
    workers, limits = pool_size(params.engine)
    # problems of the pack are reported before the clips are read
    load_pack(params.faces.pack)
    ingest(params.dataset, workers, limits=limits, faces=params.faces.source)
    list_networks(params.faces.pack)
    write_stills_list(params.finetune, workers)
    print(summary())


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
