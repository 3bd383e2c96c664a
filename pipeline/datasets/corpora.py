"""The data sets of a run: one, or several, some to train on and others to test on."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import CorpusParams, DatasetParams
from arpgnet.pipeline.datasets.base import (
    About,
    ListedClip,
    Listing,
    Recipe,
    Wanted,
    WrongRootError,
    adapter,
)
from arpgnet.pipeline.datasets.layout import has_linked_folder
from arpgnet.pipeline.datasets.not_utf8 import as_text
from arpgnet.pipeline.datasets.recognize import what_lies_there
from arpgnet.pipeline.datasets.root import resolve_root
from arpgnet.pipeline.tables.manifest import resolve_inside

CROSS = Recipe("official", "trained on some data sets, tested on others")

Role = Literal["all", "train", "test"]


@dataclass(frozen=True)
class Corpus:
    """One data set: its name in the manifest, its description, and the request to its adapter."""

    name: str
    about: About
    wanted: Wanted
    adapter: str
    role: Role = "all"

    def listing(self) -> Listing:
        """List the clips with the adapter.

        Raises:
            UserError: the root is wrong, with what was looked for and what lies there instead; a
                clip's path or link leads out of it; or as the adapter says.
        """
        try:
            found = adapter(self.adapter).list_clips(self.wanted)
        except WrongRootError as error:
            there = what_lies_there(self.wanted.root, self.adapter, error.looked_for)
            if not self.wanted.follow_links and has_linked_folder(self.wanted.root):
                there += "; linked folders are not followed: dataset.follow_links=true changes that"
            raise UserError(
                f"{self.adapter}: no {error.looked_for} in {self.wanted.root}: {there}"
            ) from None
        check_inside(self.wanted, found.clips)
        clips = [replace(clip, corpus=self.name) for clip in found.clips]
        return as_text(replace(found, clips=clips))


def check_inside(wanted: Wanted, clips: Sequence[ListedClip]) -> None:
    """Refuse paths that leave the root; see `resolve_inside`.

    A folder is resolved once: that takes as long as to look at 10 files.
    """
    good: set[str] = set()
    for clip in clips:
        points = clip.images and clip.images.landmarks
        for name in (clip.path, points) if points else (clip.path,):
            folder = posixpath.dirname(name)
            if folder not in good or ".." in name or (wanted.root / name).is_symlink():
                resolve_inside(wanted.root, name, wanted.follow_links)
            if folder and folder not in good:
                resolve_inside(wanted.root, folder, wanted.follow_links)
            good.add(folder)


def corpora(params: DatasetParams, faces: Literal["detect", "aligned"] = "detect") -> list[Corpus]:
    """Return the data sets of a run, in order; their folders are located, but not listed.

    Raises:
        UserError: a folder does not exist, or an adapter has no such variant.
    """
    if params.name != "cross":
        return [_corpus(params, params, params.name, faces, "all")]
    chosen: list[tuple[CorpusParams, Role]] = [
        *((corpus, "train") for corpus in params.train_on),
        *((corpus, "test") for corpus in params.test_on),
    ]
    found = []
    names = Counter(corpus.name for corpus, _ in chosen)
    for number, (entry, role) in enumerate(chosen, 1):
        name = entry.name if names[entry.name] == 1 else f"{entry.name}{number}"
        found.append(_corpus(entry, params, name, faces, role))
    trained = {corpus.wanted.root for corpus in found if corpus.role == "train"}
    for corpus in found:
        if corpus.role == "test" and corpus.wanted.root in trained:
            raise UserError(
                f"dataset.test_on: {corpus.adapter} at {corpus.wanted.root} is also trained on; to "
                "split a data set by its own protocol, use dataset.name and dataset.root"
            )
    return found


def dataset_roots(params: DatasetParams) -> dict[str, Path]:
    """Return, per corpus of the manifest, the absolute folder that clip paths are relative to."""
    return {corpus.name: corpus.wanted.root for corpus in corpora(params)}


def resolve_params(
    params: DatasetParams, about: About, clips: Sequence[ListedClip]
) -> DatasetParams:
    """Replace every `auto` in the parameters by the data set's own protocol."""
    recipe = CROSS if params.name == "cross" else about.recipe
    protocol: str = recipe.protocol
    if protocol == "kfold" and any(clip.split for clip in clips):
        protocol = "official"
    own = {"protocol": protocol, "group_by": recipe.group_by, "folds": recipe.folds}
    auto = {name: value for name, value in own.items() if getattr(params, name) == "auto"}
    return params.model_copy(update=auto)


def list_all(found: Sequence[Corpus]) -> Listing:
    """List the clips of every corpus; of several, each is used for training or for testing.

    Of a training corpus, the official validation part is used for validation and the official test
    part is left out; of a test corpus, the official test part (or, without one, the validation
    part) is used, or all of it if it has no parts.

    Raises:
        UserError: see `Corpus.listing`; or some corpora label clips and others frames.
    """
    if len(found) == 1 and found[0].role == "all":
        return found[0].listing()
    listings = [_in_role(corpus, corpus.listing()) for corpus in found]
    kinds = {
        any(clip.frames is not None for clip in listing.clips): corpus.name
        for corpus, listing in zip(found, listings, strict=True)
    }
    if len(kinds) == 2:
        raise UserError(
            f"{kinds[True]} labels frames, {kinds[False]} clips: they cannot be combined"
        )
    left_out: Counter[str] = Counter()
    for listing in listings:
        left_out.update(listing.left_out)
    return Listing(
        [clip for listing in listings for clip in listing.clips],
        [name for listing in listings for name in listing.unused],
        dict(left_out),
        [remark for listing in listings for remark in listing.remarks],
    )


def _corpus(
    corpus: DatasetParams | CorpusParams,
    params: DatasetParams,
    name: str,
    faces: Literal["detect", "aligned"],
    role: Role,
) -> Corpus:
    about = adapter(corpus.name).ABOUT
    variant = corpus.variant or (about.variants[0] if about.variants else "")
    if corpus.variant and corpus.variant not in about.variants:
        known = f"known: {', '.join(about.variants)}" if about.variants else "it has none"
        raise UserError(f"dataset.variant: {corpus.name} has no '{corpus.variant}'; {known}")
    if corpus.name == "demo":
        from arpgnet.pipeline.datasets.adapters.demo import demo_root

        root = demo_root(params.demo)
    else:
        root = resolve_root(corpus.root or "")
    wanted = Wanted(root, variant, faces, corpus.manifest, params.image_fps, params.follow_links)
    return Corpus(name, about, wanted, corpus.name, role)


def _in_role(corpus: Corpus, listing: Listing) -> Listing:
    """Assign the clips of a corpus to parts of the run, with names prefixed by the corpus."""
    provided = {clip.split for clip in listing.clips}
    if corpus.role == "train":
        part = {"val": "val", "test": None}
    else:
        tested = next((name for name in ("test", "val") if name in provided), None)
        part = {name: "test" if name == tested else None for name in ("train", "val", "test")}
    kept, dropped = [], 0
    for clip in listing.clips:
        split = part.get(clip.split or "", corpus.role)
        if split is None:
            dropped += 1
            continue
        subject = clip.subject and f"{corpus.name}/{clip.subject}"
        group = clip.group and f"{corpus.name}/{clip.group}"
        kept.append(replace(clip, split=split, fold=None, subject=subject, group=group))
    left_out = {f"{corpus.name}: {why}": count for why, count in listing.left_out.items()}
    if dropped:
        left_out[f"{corpus.name}: of an official part that is not used to {corpus.role}"] = dropped
    unused = [f"{corpus.name}/{name}" for name in listing.unused]
    remarks = [f"{corpus.name}: {remark}" for remark in listing.remarks]
    return Listing(kept, unused, left_out, remarks)
