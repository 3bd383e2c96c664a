"""A colleague who clones the project and pulls its results, without the videos or the store."""

import shutil

import pytest

from helpers.rendered_csv import render_csv
from helpers.support import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A clone with everything pulled from a remote, where nobody has the videos."""
    here = tmp_path_factory.mktemp("shared")
    videos, remote = here / "videos", here / "remote"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARPGNET_STORE", str(here / "store-of-the-author"))
        author = Workspace(here / "author", render_csv(videos))
        author.dvc("remote", "add", "--default", "ours", str(remote))
        author.dvc("repro")
        author.run("git", "add", "--all")
        author.run("git", "commit", "--quiet", "--message", "results")
        author.dvc("push", "--quiet")
    clip = next(videos.glob("anger/*_0.mp4"))
    shutil.copy(clip, here / "talk.mp4")
    shutil.rmtree(videos)
    shutil.rmtree(here / "store-of-the-author")
    author.run("git", "clone", "--quiet", str(author.root), str(here / "colleague"))
    colleague = Workspace.__new__(Workspace)
    colleague.root = here / "colleague"
    colleague.dvc("pull", "--quiet")
    assert colleague.outputs() == author.outputs()
    return colleague


def test_repro_keeps_what_was_pulled(clone: Workspace) -> None:
    before = clone.outputs()
    done = clone.dvc("repro")
    assert "note: dataset.root" in done.stdout
    assert "Kept as it is: data/manifest.parquet" in done.stdout
    assert "Running stage 'decode'" not in done.stdout
    assert clone.outputs() == before


def test_experiments_and_predictions_need_no_videos(clone: Workspace) -> None:
    before = clone.outputs()
    done = clone.dvc("exp", "run", "-S", "fusion.heads=2")
    assert "Running stage 'train'" in done.stdout
    assert "Running stage 'decode'" not in done.stdout
    clone.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock")
    clone.dvc("checkout", "--quiet")
    assert clone.outputs() == before
    video = clone.root.parent / "talk.mp4"
    clone.run("arpgnet", "predict", str(video), "--out", str(clone.root / "predictions"))
    assert (clone.root / "predictions/talk.csv").stat().st_size > 0


def test_what_needs_the_videos_stops_in_a_line_and_deletes_nothing(clone: Workspace) -> None:
    before = clone.outputs()
    clone.set({"decode.frames": 5})
    done = clone.dvc("repro", check=False)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "dataset.root" in lines[0]
    assert "Traceback" not in done.stderr
    assert clone.outputs() == before
    # other settings of the data set are not those that were pulled
    clone.run("git", "checkout", "--quiet", "params.yaml")
    clone.set({"dataset.exclude": ["anger"]})
    done = clone.dvc("repro", check=False)
    assert done.returncode != 0
    assert "dataset.root" in done.stderr
    assert (clone.root / "data/manifest.parquet").is_file()
    clone.run("git", "checkout", "--quiet", "params.yaml")
    clone.dvc("checkout", "--quiet")
