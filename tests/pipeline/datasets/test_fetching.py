"""`arpgnet data fetch`, against a server on this machine in the publishers' formats."""

from __future__ import annotations

import random
import stat
import zipfile
from collections import namedtuple
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from arpgnet.pipeline.common.download import Retries
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters import cremad, enterface05, ravdess
from arpgnet.pipeline.datasets.base import Wanted, adapter
from arpgnet.pipeline.datasets.fetching import folder as places
from arpgnet.pipeline.datasets.fetching.run import fetch
from arpgnet.pipeline.datasets.fetching.table import PUBLISHERS
from arpgnet.pipeline.datasets.presets import read_preset
from helpers.dataset_trees import ingested, sides, video
from helpers.in_process import arpgnet
from helpers.publishers import (
    CREMAD,
    ENTERFACE,
    RECORD,
    SPARE,
    Fault,
    Server,
    offer_record,
    offer_repository,
    serving,
    zipped,
)

QUICK = Retries(attempts=3, first_wait_s=0.01, longest_wait_s=2)
ACTORS = range(1, 25)
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "set"


def content(name: str) -> bytes:
    return random.Random(name).randbytes(3000)


def speech(actor: int) -> dict[str, bytes]:
    """An actor's archive, as unpacked by most tools: a folder, files with and without sound."""
    names = [f"{kind:02}-01-{e:02}-01-01-01-{actor:02}.mp4" for kind in (1, 2) for e in (1, 3)]
    members = {f"Actor_{actor:02}/{name}": content(name) for name in names}
    return {**members, f"__MACOSX/Actor_{actor:02}/._{names[0]}": b"mac", "readme.txt": b"hello"}


def offer_ravdess(server: Server, changed: Mapping[str, bytes] | None = None) -> None:
    archives = {f"Video_Speech_Actor_{n:02}.zip": zipped(speech(n)) for n in ACTORS}
    others = {"Audio_Speech_Actors_01-24.zip": b"sound", "Video_Song_Actor_01.zip": b"song"}
    offer_record(server, {**archives, **others, **(changed or {})})


def offer_cremad(server: Server, folder: Path) -> dict[str, bytes]:
    names = [
        f"VideoFlash/{actor}_DFA_{code}_XX.flv" for actor in (1001, 1002) for code in cremad.CLASSES
    ]
    files = {name: content(name) for name in names}
    sound = {name.replace("VideoFlash", "AudioWAV"): b"sound" for name in names}
    offer_repository(server, folder, {**files, **sound})
    return files


def offer_enterface(server: Server, more: Mapping[str, bytes] | None = None) -> None:
    members = {
        f"enterface database/subject {number}/{label}/sentence 1/s{number}_{code}_1.avi": content(
            f"{number} {label}"
        )
        for number in (1, 2)
        for label, code in enterface05.CODES.items()
    }
    members["enterface database/subject 1/anger/Thumbs.db"] = b"x"
    server.files[ENTERFACE] = zipped({**members, **(more or {})})


def get(server: Server, name: str, root: Path, **options: object) -> list[str]:
    """What the command says, without the face pack."""
    said: list[str] = []
    settings = {"accept_license": True, "with_pack": False, "retries": QUICK, **options}
    fetch(name, root, server=server.address, say=said.append, **settings)  # type: ignore[arg-type]
    return said


def listed(root: Path) -> list[str]:
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and places.WORK not in path.parts
    )


def leftovers(root: Path) -> list[str]:
    return sorted(path.name for path in (root / places.WORK).iterdir())


class TestRavdess:
    def test_the_presets_part_alone(self, server: Server, root: Path) -> None:
        offer_ravdess(server)
        said = get(server, "ravdess", root)
        names = [f"Actor_{n:02}/02-01-{e:02}-01-01-01-{n:02}.mp4" for n in ACTORS for e in (1, 3)]
        assert listed(root) == sorted(names)
        assert (root / names[0]).read_bytes() == content(Path(names[0]).name)
        assert "24 archives to download" in said[1]
        assert "GB of disk" in said[1]
        assert "48 clips of 24 people" in said[-2]
        assert said[-1] == f"next: make repro PRESET=ravdess ROOT={root}"
        assert not server.asked(f"{RECORD}/files/Audio")
        assert not server.asked(f"{RECORD}/files/Video_Song")
        assert leftovers(root) == ["lock", "state.json"]
        found = adapter("ravdess").list_clips(Wanted(root, "speech_once"))
        assert len(found.clips) == 48
        assert found.unused == []

    def test_again_costs_nothing(self, server: Server, root: Path) -> None:
        offer_ravdess(server)
        get(server, "ravdess", root)
        server.log.clear()
        said = get(server, "ravdess", root)
        assert server.log == []
        assert "everything is there already, and every file is sound" in said[1]

    def test_a_run_that_broke_off_goes_on(self, server: Server, root: Path) -> None:
        offer_ravdess(server)
        third = f"{RECORD}/files/Video_Speech_Actor_03.zip/content"
        server.faults[third] = [Fault(cut=1000), *[Fault(cut=0)] * 2]
        with pytest.raises(UserError, match=r"ended after 1000 of \d+ bytes; run again to go on"):
            get(server, "ravdess", root)
        assert len(listed(root)) == 4
        server.log.clear()
        said = get(server, "ravdess", root)
        assert "22 archives to download" in said[1]
        assert server.asked(third) == ["bytes=1000-"]
        assert not server.asked(f"{RECORD}/files/Video_Speech_Actor_02")
        assert len(listed(root)) == 48

    def test_damaged_and_deleted_files_are_replaced(self, server: Server, root: Path) -> None:
        offer_ravdess(server)
        get(server, "ravdess", root)
        first, last = listed(root)[0], listed(root)[-1]
        good = (root / first).read_bytes()
        (root / first).write_bytes(good[:-1] + b"!")
        (root / last).unlink()
        server.log.clear()
        get(server, "ravdess", root)
        assert (root / first).read_bytes() == good
        assert len(listed(root)) == 48
        assert len(server.asked(f"{RECORD}/files/")) == 2

    def test_another_variant_adds_to_it(self, server: Server, root: Path) -> None:
        offer_ravdess(server)
        get(server, "ravdess", root)
        said = get(server, "ravdess", root, variant="speech")
        assert len(listed(root)) == 96
        assert said[-1].endswith(" VARIANT=speech")
        with pytest.raises(UserError, match="ravdess has no variant 'sing'; known: speech, song"):
            get(server, "ravdess", root, variant="sing")

    def test_an_archive_unlike_its_md5_is_refused(self, server: Server, root: Path) -> None:
        offer_ravdess(server)
        path = f"{RECORD}/files/Video_Speech_Actor_01.zip/content"
        server.files[path] = server.files[path][:-1] + b"!"
        with pytest.raises(UserError, match=r"Actor_01\.zip/content: the download has md5"):
            get(server, "ravdess", root)
        assert listed(root) == []
        assert leftovers(root) == ["lock"]

    def test_an_archive_that_the_publisher_changes_in_between(
        self, server: Server, root: Path
    ) -> None:
        offer_ravdess(server)
        name = "Video_Speech_Actor_01.zip"
        server.faults[f"{RECORD}/files/{name}"] = [Fault(cut=1000), *[Fault(cut=0)] * 2]
        with pytest.raises(UserError):
            get(server, "ravdess", root)
        new = zipped({f"Actor_01/02-01-0{e}-01-01-01-01.mp4": content(f"new{e}") for e in (1, 3)})
        offer_ravdess(server, {name: new})
        get(server, "ravdess", root)
        assert (root / "Actor_01/02-01-01-01-01-01-01.mp4").read_bytes() == content("new1")

    def test_a_busy_zenodo(self, server: Server, root: Path) -> None:
        offer_ravdess(server)
        server.faults[f"{RECORD}/files"] = [Fault(503), Fault(429)]
        server.faults[RECORD] = [Fault(429, {"Retry-After": "1"}), Fault(cut=100)]
        get(server, "ravdess", root)
        assert len(listed(root)) == 48

    def test_a_record_that_is_gone_or_another(self, server: Server, root: Path) -> None:
        with pytest.raises(UserError, match=r"records/1188976: the server answered 404 "):
            get(server, "ravdess", root)
        offer_record(server, {"Video_Speech_Actor_01.zip": zipped(speech(1))})
        with pytest.raises(UserError, match=r"lists 1 archives like .*, expected 24: the pub"):
            get(server, "ravdess", root)
        server.files[RECORD] = b'{"id": 1188976, "files": [{"key": "../x"}]}'
        with pytest.raises(UserError, match=r"not a record with open files: files\.0\.size"):
            get(server, "ravdess", root)
        server.files[RECORD] = b"<html>"
        with pytest.raises(UserError, match="the answer is not JSON"):
            get(server, "ravdess", root)

    def test_too_small_a_disk_is_said_before(
        self, server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        offer_ravdess(server)
        monkeypatch.setattr(places.shutil, "disk_usage", lambda _: Usage(1, 1, 100_000_000))
        with pytest.raises(UserError, match=r"ravdess needs 0\.20 GB of disk.* has 0\.10 GB free"):
            get(server, "ravdess", root)
        assert not server.asked(f"{RECORD}/files")

    def test_ingest_reads_what_was_fetched(
        self, server: Server, root: Path, tmp_path: Path
    ) -> None:
        def actor(number: int) -> dict[str, bytes]:
            name = f"Actor_{number:02}/02-01-{1 + number % 8:02}-01-01-01-{number:02}.mp4"
            return {name: video(tmp_path / "made" / name).read_bytes()}

        archives = {f"Video_Speech_Actor_{n:02}.zip": zipped(actor(n)) for n in ACTORS}
        offer_record(server, archives)
        get(server, "ravdess", root)
        manifest = ingested("ravdess", root, tmp_path / "out", variant="speech_once")
        assert len(manifest.clips) == 24
        assert {clip.status for clip in manifest.clips} == {"ok"}
        assert "unused_files" not in manifest.notes or not manifest.notes["unused_files"]["count"]
        assert len(sides(tmp_path / "out")) == 6


class TestZips:
    """What a damaged or hostile archive does: nothing."""

    @pytest.mark.parametrize(
        "name",
        [
            "enterface database/subject 3/../../../../evil.avi",
            "subject 3/anger/../../../evil.avi",
            "subject 3/c:/evil.avi",
            "subject 3/anger/x\\..\\..\\evil.avi",
        ],
    )
    def test_names_that_lead_out(self, server: Server, root: Path, name: str) -> None:
        offer_enterface(server, {name: b"evil"})
        with pytest.raises(UserError, match="leads out of the folder: nothing was unpacked"):
            get(server, "enterface05", root)
        assert listed(root) == []
        assert not list(root.parent.parent.rglob("evil*"))

    def test_absolute_names_lie_below_the_root(self, server: Server, root: Path) -> None:
        offer_enterface(server, {"/tmp/subject 3/anger/sentence 1/s3_an_1.avi": b"x"})
        get(server, "enterface05", root)
        assert "subject 3/anger/sentence 1/s3_an_1.avi" in listed(root)

    def test_links_in_it(self, server: Server, root: Path) -> None:
        offer_enterface(server)
        link = zipfile.ZipInfo("enterface database/subject 3/anger/x.avi")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        path = root.parent / "made.zip"
        path.parent.mkdir(parents=True)
        path.write_bytes(server.files[ENTERFACE])
        with zipfile.ZipFile(path, "a") as made:
            made.writestr(link, "/etc/passwd")
        server.files[ENTERFACE] = path.read_bytes()
        with pytest.raises(UserError, match="is a link or a device, not a file: nothing was"):
            get(server, "enterface05", root)
        assert listed(root) == []

    def test_links_in_the_root(self, server: Server, root: Path, tmp_path: Path) -> None:
        offer_enterface(server)
        (tmp_path / "elsewhere").mkdir()
        root.mkdir(parents=True)
        (root / "subject 1").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UserError, match=r"subject 1 is a link: remove it"):
            get(server, "enterface05", root)
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_link_in_place_of_a_file_is_replaced(
        self, server: Server, root: Path, tmp_path: Path
    ) -> None:
        offer_enterface(server)
        own = tmp_path / "own"
        own.write_bytes(content("1 anger"))
        path = root / "subject 1/anger/sentence 1/s1_an_1.avi"
        path.parent.mkdir(parents=True)
        path.symlink_to(own)
        get(server, "enterface05", root)
        assert not path.is_symlink()
        assert own.read_bytes() == content("1 anger")

    def test_two_contents_of_one_name(self, server: Server, root: Path) -> None:
        offer_enterface(server, {"copy/subject 1/anger/sentence 1/s1_an_1.avi": b"other"})
        with pytest.raises(UserError, match="is in it twice, with two contents"):
            get(server, "enterface05", root)

    @pytest.mark.parametrize("damage", ["no zip", "cut", "member"])
    def test_damage_is_found_without_a_digest(
        self, server: Server, root: Path, damage: str
    ) -> None:
        offer_enterface(server)
        good = server.files[ENTERFACE]
        place = good.index(content("2 anger")) + 10
        server.files[ENTERFACE] = {
            "no zip": b"<html>sorry</html>",
            "cut": good[: len(good) // 2],
            "member": good[:place] + b"!!!" + good[place + 3 :],
        }[damage]
        with pytest.raises(UserError, match=r"is damaged or not a zip .* discarded; run again"):
            get(server, "enterface05", root)
        assert "project2_database.zip" not in leftovers(root)
        server.files[ENTERFACE] = good
        get(server, "enterface05", root)
        assert len(listed(root)) == 12


class TestEnterface:
    def test_the_folders_of_the_subjects(self, server: Server, root: Path) -> None:
        offer_enterface(server)
        server.faults[ENTERFACE] = [Fault(), Fault(cut=5000)]
        said = get(server, "enterface05", root)
        assert len(listed(root)) == 12
        assert listed(root)[0] == "subject 1/anger/sentence 1/s1_an_1.avi"
        assert server.asked(ENTERFACE, "GET") == [None, "bytes=5000-"]
        assert "12 clips of 2 people" in said[-2]
        assert "documented are 1,287" in said[-2]
        server.log.clear()
        get(server, "enterface05", root)
        assert server.log == []

    def test_a_server_without_lengths(self, server: Server, root: Path) -> None:
        offer_enterface(server)
        server.faults[ENTERFACE] = [Fault(405)]
        said = get(server, "enterface05", root)
        assert "about 0.80 GB" in said[1]
        assert len(listed(root)) == 12


class TestCremad:
    def test_the_videos_alone(self, server: Server, root: Path, tmp_path: Path) -> None:
        files = offer_cremad(server, tmp_path)
        said = get(server, "cremad", root)
        assert listed(root) == sorted(files)
        assert all((root / name).read_bytes() == data for name, data in files.items())
        assert "12 files to download" in said[2]
        assert "12 clips of 2 people" in said[-2]
        assert leftovers(root) == ["lock", "state.json"]
        server.log.clear()
        said = get(server, "cremad", root)
        assert server.log == []
        assert "everything is there already" in said[1]

    def test_it_goes_on_and_replaces_pointers_and_damage(
        self, server: Server, root: Path, tmp_path: Path
    ) -> None:
        files = offer_cremad(server, tmp_path)
        names = sorted(files)
        (root / "VideoFlash").mkdir(parents=True)
        (root / names[0]).write_bytes((tmp_path / "tree" / names[0]).read_bytes())
        (root / names[1]).write_bytes(files[names[1]][:-1] + b"!")
        (root / names[2]).write_bytes(files[names[2]])
        get(server, "cremad", root)
        assert all((root / name).read_bytes() == data for name, data in files.items())
        assert len(server.asked("/lfs/")) == 11

    def test_interrupted_files_go_on(self, server: Server, root: Path, tmp_path: Path) -> None:
        files = offer_cremad(server, tmp_path)
        server.faults["/lfs/"] = [Fault(cut=100), Fault(429, {"Retry-After": "1"}), Fault(503)]
        get(server, "cremad", root)
        assert "bytes=100-" in server.asked("/lfs/")
        assert all((root / name).read_bytes() == data for name, data in files.items())

    def test_a_copy_without_traffic_left_is_passed_over(
        self, server: Server, root: Path, tmp_path: Path
    ) -> None:
        files = offer_cremad(server, tmp_path)
        served = tmp_path / "served"
        (served / SPARE.strip("/")).parent.mkdir(parents=True)
        (served / f"{SPARE.strip('/')}.git").symlink_to(served / f"{CREMAD.strip('/')}.git")
        over = b'{"message": "This repository exceeded its LFS budget."}'
        server.faults[f"{CREMAD}.git/info/lfs"] = [Fault(403, body=over)] * 9
        said = get(server, "cremad", root)
        passed = [line for line in said if "exceeded its LFS budget" in line]
        assert len(passed) == 1
        assert f"next: {server.address}{SPARE}" in passed[0]
        assert listed(root) == sorted(files)

    def test_what_no_copy_has_is_said(self, server: Server, root: Path, tmp_path: Path) -> None:
        offer_cremad(server, tmp_path)
        server.objects.clear()
        with pytest.raises(UserError, match=r"_XX\.flv: 404 Object does not exist"):
            get(server, "cremad", root)
        assert listed(root) == []

    def test_wrong_bytes_are_refused(self, server: Server, root: Path, tmp_path: Path) -> None:
        offer_cremad(server, tmp_path)
        for oid, data in server.objects.items():
            server.objects[oid] = data[:-1] + b"!"
        with pytest.raises(UserError, match=r"the download has sha256 \w+, expected"):
            get(server, "cremad", root)
        assert listed(root) == []

    def test_no_repository(self, server: Server, root: Path, tmp_path: Path) -> None:
        server.repositories = tmp_path
        with pytest.raises(UserError, match=r"git clone: .*not found"):
            get(server, "cremad", root)


class TestCommand:
    def test_the_license_comes_first(self, server: Server, root: Path) -> None:
        done = arpgnet("data", "fetch", "ravdess", str(root), "--server", server.address)
        assert done.returncode == 1
        assert "license: CC BY-NC-SA 4.0 (https://zenodo.org/records/1188976)" in done.stderr
        assert "face pack buffalo_l: license: non-commercial research only" in done.stderr
        assert "--accept-license'; it downloads 13.4 GB" in done.stderr
        assert "\n" not in done.stderr.strip()
        assert server.log == []
        assert not root.exists()

    @pytest.mark.parametrize("spelling", ["--accept-license", "--accept-licence"])
    def test_both_spellings(self, server: Server, root: Path, spelling: str) -> None:
        offer_enterface(server)
        line = ("data", "fetch", "enterface05", str(root), spelling, "--no-pack")
        done = arpgnet(*line, "--server", server.address)
        assert done.returncode == 0, done.stderr
        assert f"next: make repro PRESET=enterface05 ROOT={root}" in done.stdout

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("rml", "rml cannot be fetched: ask its publisher (on request: "),
            ("demo", "no data set 'demo' can be fetched; known: ravdess, cremad, enterface05"),
            ("raavdess", "no data set 'raavdess' can be fetched; known: ravdess"),
        ],
    )
    def test_what_cannot_be_fetched(self, root: Path, name: str, line: str) -> None:
        done = arpgnet("data", "fetch", name, str(root), "--accept-license")
        assert done.returncode == 1
        assert line in done.stderr

    def test_the_root_is_a_file(self, server: Server, root: Path) -> None:
        root.parent.mkdir(parents=True)
        root.write_text("mine")
        with pytest.raises(UserError, match="is a file; give a folder"):
            get(server, "ravdess", root)

    def test_the_root_cannot_be_written(self, server: Server, root: Path) -> None:
        root.parent.mkdir(parents=True)
        (root.parent / "file").write_text("mine")
        with pytest.raises(UserError, match=r"cannot be written .*: choose another folder"):
            get(server, "ravdess", root.parent / "file/below")

    def test_one_at_a_time(self, server: Server, root: Path) -> None:
        offer_ravdess(server)
        with places.opened(root), pytest.raises(UserError, match="another process is fetching"):
            get(server, "ravdess", root)

    def test_the_pack_of_the_preset_comes_too(
        self, server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from arpgnet.pipeline.datasets.fetching import run

        offer_enterface(server)
        asked = []

        def no_network(pack: str, **settings: object) -> None:
            asked.append((pack, settings["accept_license"]))
            raise UserError("no network")

        monkeypatch.setenv("ARPGNET_MODELS", str(root.parent))
        monkeypatch.setattr(run, "fetch_pack", no_network)
        monkeypatch.setattr(run, "load_pack", no_pack)
        with pytest.raises(UserError, match="enterface05 is complete, its face pack is not"):
            get(server, "enterface05", root, with_pack=True)
        assert asked == [("buffalo_l", True)]
        assert len(listed(root)) == 12


def no_pack(name: str) -> None:
    raise UserError(f"no {name}")


def test_the_table_agrees_with_presets_and_adapters() -> None:
    for name, publisher in PUBLISHERS.items():
        preset = read_preset(name)
        assert publisher.variant == preset.get(("dataset", "variant"), "")
        about = adapter(name).ABOUT
        first = about.variants[0] if about.variants else ""
        assert publisher.clips(first) == about.expected.clips
    assert ravdess.ABOUT.obtain.endswith("/1188976")
