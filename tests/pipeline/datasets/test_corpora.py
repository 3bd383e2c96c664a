"""Several data sets in one run: some to train on, others to test on; and a set's own protocol."""

from __future__ import annotations

from unittest import mock

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.base import ADAPTERS, About, Recipe, adapter
from arpgnet.pipeline.datasets.corpora import corpora, dataset_roots, resolve_params
from arpgnet.pipeline.ingest.run import ingest
from arpgnet.pipeline.tables.manifest import MANIFEST, read_manifest
from helpers.dataset_trees import at_once, by_path, ingested, make_images, sides, text, video

UNITS_ONLY = ("bp4d", "bp4dplus", "disfa", "disfaplus")  # sets without classes of expression


def rml(root, speakers=3):
    for number in range(1, speakers + 1):
        for code in ("an", "ha", "sa"):
            video(root / f"s{number}/{code}1.avi")
    return root


def ravdess(root, actors=(1, 2)):
    """Calm, happy, sad and angry performances."""
    for actor in actors:
        for emotion in (2, 3, 4, 5):
            name = f"01-01-{emotion:02d}-01-01-01-{actor:02d}.mp4"
            video(root / f"Actor_{actor:02d}" / name)
    return root


def joined(tmp_path, **params):
    train, test = rml(tmp_path / "rml"), ravdess(tmp_path / "ravdess")
    settings = {
        "train_on": [{"name": "rml", "root": str(train)}],
        "test_on": [{"name": "ravdess", "root": str(test)}],
        **params,
    }
    return cross(tmp_path, **settings)


def cross(folder, **settings):
    """The manifest of several sets, written below the folder."""
    with mock.patch("arpgnet.pipeline.datasets.file_cache.run_in_workers", at_once):
        ingest(DatasetParams(**{"name": "cross", **settings}), workers=1, folder=folder)
    return read_manifest(folder / MANIFEST)


def test_trained_on_one_set_and_tested_on_another(tmp_path):
    manifest = joined(tmp_path, map={"calm": None})
    assert manifest.classes == ["anger", "happiness", "sadness"]
    (split,) = sides(tmp_path).values()
    for clip in manifest.clips:
        assert clip.clip_id.startswith(f"{clip.corpus}/")
        assert clip.subject.startswith(f"{clip.corpus}/")
        assert (split[clip.clip_id] == "test") == (clip.corpus == "ravdess")
    assert set(split.values()) == {"train", "val", "test"}
    assert manifest.notes["left_out"] == {"class calm is mapped to null": 2}
    protocol = manifest.notes["protocol"]
    assert (protocol["protocol"], protocol["published"]) == ("official", False)


def test_a_class_that_training_does_not_know(tmp_path):
    with pytest.raises(
        UserError, match=r"class 'calm' of ravdess .* is not one of anger, happiness"
    ):
        joined(tmp_path)
    manifest = joined(tmp_path / "b", unmapped="drop")
    assert manifest.notes["left_out"] == {"class calm is not mapped (dataset.unmapped: drop)": 2}


def test_a_class_joins_another(tmp_path):
    manifest = joined(tmp_path, map={"calm": "sadness"})
    labels = [clip.label for clip in manifest.clips if clip.corpus == "ravdess"]
    assert sorted(labels) == ["anger"] * 2 + ["happiness"] * 2 + ["sadness"] * 4


def test_a_map_of_a_class_that_nobody_has(tmp_path):
    with pytest.raises(
        UserError, match=r"dataset\.map: no clip has the class 'angry'; nearest: 'a"
    ):
        joined(tmp_path, map={"angry": "anger"})


def test_a_trained_class_that_is_never_tested(tmp_path):
    ravdess(tmp_path / "ravdess", ())
    for actor in (1, 2):
        video(tmp_path / f"ravdess/Actor_{actor:02d}/01-01-05-01-01-01-{actor:02d}.mp4")
        video(tmp_path / f"ravdess/Actor_{actor:02d}/01-01-03-01-01-01-{actor:02d}.mp4")
    train = [{"name": "rml", "root": str(rml(tmp_path / "rml"))}]
    test = [{"name": "ravdess", "root": str(tmp_path / "ravdess")}]
    with pytest.raises(
        UserError, match=r"no clip of class 'sadness' is in any test part"
    ) as caught:
        cross(tmp_path, train_on=train, test_on=test)
    # no split is drawn that another seed would change
    assert "dataset.test_on" in str(caught.value)
    assert "seed" not in str(caught.value)


def test_official_parts_decide_who_trains_and_who_is_tested(tmp_path):
    """Of a trained set the test part is left out, of a tested set the training part."""
    rows = ["path,label,subject,split"]
    for number, part in enumerate(["train"] * 6 + ["val"] * 2 + ["test"] * 2):
        video(tmp_path / f"own/{number}.mp4")
        rows.append(f"{number}.mp4,{'anger' if number % 2 else 'sadness'},p{number},{part}")
    text(tmp_path / "own/all.csv", "\n".join(rows) + "\n")
    own = {"name": "csv", "root": str(tmp_path / "own"), "manifest": "all.csv"}
    other = {"name": "rml", "root": str(rml(tmp_path / "rml"))}
    notes = cross(tmp_path, train_on=[own], test_on=[other], unmapped="drop").notes
    assert notes["left_out"]["csv: of an official part that is not used to train"] == 2
    (split,) = sides(tmp_path).values()
    assert {side: list(split.values()).count(side) for side in ("train", "val")} == {
        "train": 6, "val": 2,
    }  # fmt: skip
    notes = cross(tmp_path, train_on=[other], test_on=[own], exclude=["happiness"]).notes
    assert notes["left_out"]["csv: of an official part that is not used to test"] == 8


def test_the_same_set_on_both_sides(tmp_path):
    entry = {"name": "rml", "root": str(rml(tmp_path / "rml"))}
    with pytest.raises(UserError, match="is also trained on"):
        corpora(DatasetParams(name="cross", train_on=[entry], test_on=[entry]))


def test_two_sets_of_one_kind_have_names_of_their_own(tmp_path):
    entries = [
        {"name": "rml", "root": str(rml(tmp_path / name, speakers))}
        for name, speakers in (("a", 3), ("b", 2))
    ]
    settings = DatasetParams(name="cross", train_on=entries[:1], test_on=entries[1:])
    assert list(dataset_roots(settings)) == ["rml1", "rml2"]
    manifest = cross(tmp_path, train_on=entries[:1], test_on=entries[1:])
    assert {clip.clip_id.split("/")[0] for clip in manifest.clips} == {"rml1", "rml2"}


def test_frames_and_clips_are_not_joined(tmp_path):
    for number in range(4):
        video(tmp_path / f"frames/{number}.mp4")
        text(tmp_path / f"frames/{number}.txt", "anger\nsadness\n")
    rows = "".join(f"{number}.mp4,{number}.txt\n" for number in range(4))
    text(tmp_path / "frames/all.csv", "path,frame_labels\n" + rows)
    own = {"name": "csv", "root": str(tmp_path / "frames"), "manifest": "all.csv"}
    other = {"name": "rml", "root": str(rml(tmp_path / "rml"))}
    with pytest.raises(UserError, match="csv labels frames, rml clips: they cannot be combined"):
        cross(tmp_path, train_on=[own], test_on=[other])


def test_a_variant_that_there_is_not(tmp_path):
    with pytest.raises(UserError, match="ravdess has no 'dance'; known: speech, song"):
        corpora(DatasetParams(name="ravdess", root=str(tmp_path), variant="dance"))
    with pytest.raises(UserError, match="rml has no 'dance'; it has none"):
        corpora(DatasetParams(name="rml", root=str(tmp_path), variant="dance"))


def test_auto_is_the_sets_own_protocol_and_a_setting_wins(tmp_path):
    root = rml(tmp_path / "rml", 4)
    assert len(sides_of(root, tmp_path)) == 4
    manifest = ingested("rml", root, tmp_path, protocol="kfold", folds=2)
    assert len(sides(tmp_path)) == 2
    # not the protocol that publications use: the page must not say so
    assert manifest.notes["protocol"]["words"] == ""
    about = adapter("folder").ABOUT
    assert resolve_params(DatasetParams(), about, []).folds == 4


def test_the_protocols_words_say_what_was_left_out(tmp_path):
    manifest = ingested("rml", rml(tmp_path / "rml", 4), tmp_path, exclude=["sadness"])
    words = "leave one of 8 speakers out, all clips pooled; without sadness"
    assert manifest.notes["protocol"]["words"] == words


def sides_of(root, out):
    ingested("rml", root, out)
    return sides(out)


def test_clips_of_ones_own_with_a_split_column_use_it(tmp_path):
    rows = ["path,label,subject,split"]
    for number, part in enumerate(
        ["train", "train", "train", "train", "val", "val", "test", "test"]
    ):
        video(tmp_path / f"own/{number}.mp4")
        rows.append(f"{number}.mp4,{'ab'[number % 2]},p{number},{part}")
    text(tmp_path / "own/all.csv", "\n".join(rows) + "\n")
    manifest = ingested("csv", tmp_path / "own", tmp_path, manifest="all.csv")
    assert manifest.notes["protocol"]["protocol"] == "official"
    (split,) = sides(tmp_path).values()
    assert split == {clip.clip_id: clip.split for clip in manifest.clips}


def test_images_in_a_csv(tmp_path):
    rows = ["path,label,subject,first_image,faces"]
    for number in range(8):
        make_images(tmp_path / f"own/{number}", [10, 11, 13])
        rows.append(f"{number},{'ab'[number % 2]},p{number // 2},10,{'aligned' if number else ''}")
    text(tmp_path / "own/all.csv", "\n".join(rows) + "\n")
    manifest = ingested("csv", tmp_path / "own", tmp_path, manifest="all.csv", image_fps=10.0)
    clip = by_path(manifest)["3"]
    assert (clip.frames, clip.fps, clip.first_image, clip.faces) == (4, 10.0, 10, "aligned")
    assert by_path(manifest)["0"].faces == "detect"


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_says_what_its_set_is(name):
    about = adapter(name).ABOUT
    assert isinstance(about, About)
    assert isinstance(about.recipe, Recipe)
    if about.published:
        assert about.marks
        assert about.classes or name in UNITS_ONLY
        assert len(set(about.classes)) == len(about.classes)
        assert set(about.only_in_others) <= set(about.classes)
        for words in (about.title, about.layout, about.license, about.obtain, about.source):
            assert words
        assert set(about.expected.classes) <= set(about.classes)
