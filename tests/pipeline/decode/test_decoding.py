from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pytest

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.backends import Decord, PyAV, Refused, import_decord
from arpgnet.pipeline.decode.clip import DecodeClip, sample_frames, shrink
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.video.container import probe
from arpgnet.pipeline.video.forecast import forecast_times
from arpgnet.pipeline.video.frames import decode_jpeg, encode_jpeg
from arpgnet.pipeline.video.survey import survey
from helpers import made_videos as made

needs_decord = pytest.mark.skipif(import_decord() is None, reason="decord is not installed")
ALL = DecodeParams(sampling="all")
B_FRAMES = {"bf": "3", "g": "20"}


def has_encoder(codec: str) -> bool:
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def numbers(path: Path, params: DecodeParams = ALL, **window: float) -> list[int]:
    """Which frames the images show."""
    return [
        made.number_of(decode_jpeg(frame.jpeg)) for frame in sample_frames(path, params, **window)
    ]


def decoders(path: Path) -> set[str]:
    return {frame.decoder for frame in sample_frames(path, DecodeParams(frames=3))}


KINDS = {
    "h264.mp4": ("libx264", {"options": B_FRAMES}),
    "h264.mkv": ("libx264", {"options": B_FRAMES}),
    "h264.avi": ("libx264", {"options": B_FRAMES}),
    "h264.ts": ("libx264", {"options": B_FRAMES}),
    "xvid.avi": ("mpeg4", {"options": {"bf": "2"}}),
    "mjpeg.avi": ("mjpeg", {"pixels": "yuvj420p"}),
    "vp9.webm": ("libvpx-vp9", {"options": {"cpu-used": "8", "deadline": "realtime"}}),
    "hevc.mp4": ("libx265", {"options": {"x265-params": "log-level=none", "preset": "ultrafast"}}),
    "av1.mp4": ("libsvtav1", {"options": {"preset": "8", "crf": "10"}}),
    "odd.mp4": ("libx264", {"width": 321, "height": 241, "pixels": "yuv444p"}),
    "turned.mp4": ("libx264", {"rotation": 90}),
    "picture.gif": ("gif", {"pixels": "rgb8"}),
    "deep.mp4": ("libx264", {"pixels": "yuv420p10le"}),
}
READ_BY_DECORD = (
    "h264.mp4",
    "h264.mkv",
    "h264.avi",
    "xvid.avi",
    "mjpeg.avi",
    "vp9.webm",
    "odd.mp4",
)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


def video(folder: Path, name: str) -> Path:
    path = folder / name
    codec, more = KINDS[name]
    if not path.exists():
        if not has_encoder(codec):
            pytest.skip(f"this PyAV has no encoder {codec}")
        made.write(path, codec, **more)
    return path


@pytest.mark.parametrize("name", [name for name in KINDS if name != "turned.mp4"])
def test_every_frame_comes_once_and_in_order(videos: Path, name: str) -> None:
    kept = list(sample_frames(video(videos, name), ALL))
    assert [frame.index for frame in kept] == list(range(made.FRAMES))
    shown = [made.number_of(decode_jpeg(frame.jpeg)) for frame in kept]
    assert shown == list(range(made.FRAMES))
    assert [frame.time_s for frame in kept] == pytest.approx(np.arange(made.FRAMES) / 25, abs=2e-3)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "turned.mp4"])
def test_the_packets_tell_the_frames_before_they_are_decoded(videos: Path, name: str) -> None:
    """So that one pass is enough."""
    path = video(videos, name)
    forecast = forecast_times(path)
    assert forecast is not None
    np.testing.assert_allclose(forecast, survey(path).times, atol=1e-9)


def test_a_wrong_forecast_costs_a_second_pass_and_no_more(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video(videos, "h264.mp4")
    right = [frame.jpeg for frame in sample_frames(path, DecodeParams(frames=7))]
    for wrong in (None, np.arange(23) / 25.0):
        monkeypatch.setattr(
            "arpgnet.pipeline.video.forecast.forecast_times", lambda _, it=wrong: it
        )
        assert [frame.jpeg for frame in sample_frames(path, DecodeParams(frames=7))] == right


@needs_decord
@pytest.mark.parametrize("name", READ_BY_DECORD)
def test_decord_and_pyav_give_equal_images(videos: Path, name: str) -> None:
    path = video(videos, name)
    found = survey(path)
    every = np.arange(made.FRAMES)
    ours = list(Decord().frames(path, found, every))
    theirs = list(PyAV().frames(path, found, every))
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert len(list(sample_frames(path, DecodeParams(backend="decord", frames=3)))) == 3


@pytest.mark.parametrize("name", ["hevc.mp4", "av1.mp4", "h264.ts"])
def test_pyav_reads_what_decord_gets_wrong(videos: Path, name: str) -> None:
    path = video(videos, name)
    assert decoders(path) == {"pyav"}
    with pytest.raises(ClipError, match="decord is not"):
        list(sample_frames(path, DecodeParams(backend="decord")))


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_video_is_upright_in_both(tmp_path: Path, degrees: int) -> None:
    path = made.write(tmp_path / "turned.mp4", rotation=degrees, frames=5)
    upright = np.rot90(made.make_image(3), degrees // 90)
    (kept,) = sample_frames(path, DecodeParams(frames=1, backend="pyav"), 3 / 25, 4 / 25)
    assert np.abs(decode_jpeg(kept.jpeg).astype(int) - upright).mean() < 8
    info = probe(path)
    assert (info.width, info.height, info.rotation) == (*upright.shape[1::-1], degrees % 360)
    if import_decord() is not None:
        (other,) = sample_frames(path, DecodeParams(frames=1, backend="decord"), 3 / 25, 4 / 25)
        assert other.jpeg == kept.jpeg


def test_variable_rate_keeps_each_frames_time(tmp_path: Path) -> None:
    times = np.cumsum([20 if n % 3 else 90 for n in range(30)]) - 90
    path = made.write(tmp_path / "vfr.mp4", frames=30, times_ms=times.tolist(), options=B_FRAMES)
    kept = list(sample_frames(path, ALL))
    assert [frame.time_s for frame in kept] == pytest.approx(times / 1000, abs=2e-3)
    assert numbers(path) == list(range(30))


def test_frames_cut_by_an_edit_list_are_not_shown(tmp_path: Path) -> None:
    whole = made.write(tmp_path / "whole.mp4", frames=100, options={"bf": "3", "g": "30"})
    path = made.shifted(whole, tmp_path / "edited.mp4", frames=33, frame_ticks=512)
    assert numbers(path) == list(range(33, 100))
    assert decoders(path) == {"pyav"}
    if import_decord() is not None:
        # its own answer: 70 frames, the first three of which were cut
        with pytest.raises(ClipError, match="decord counts 70 frames, there are 67"):
            list(sample_frames(path, DecodeParams(backend="decord")))


def test_a_clip_cut_in_its_second_half_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    fast = {"movflags": "faststart"}
    whole = made.write(tmp_path / "w.mp4", frames=100, options={"g": "20"}, container_options=fast)
    path = made.cut(whole, tmp_path / "cut.mp4", 0.8)
    shown = numbers(path)
    assert 50 <= len(shown) < 100
    assert shown == list(range(len(shown)))
    assert decoders(path) == {"pyav"}


def test_a_clip_cut_in_its_first_half_is_refused(tmp_path: Path) -> None:
    fast = {"movflags": "faststart"}
    whole = made.write(tmp_path / "w.mp4", frames=100, options={"g": "20"}, container_options=fast)
    path = made.cut(whole, tmp_path / "cut.mp4", 0.45)
    with pytest.raises(ClipError, match=r"truncated: [01]\.\d\d of 4\.00 s decoded"):
        list(sample_frames(path, ALL))


def test_a_cut_avi_is_measured_by_its_header(tmp_path: Path) -> None:
    whole = made.write(tmp_path / "w.avi", "mpeg4", frames=100)
    path = made.cut(whole, tmp_path / "cut.avi", 0.45)
    with pytest.raises(ClipError, match=r"truncated: [01]\.\d\d of 4\.00 s"):
        list(sample_frames(path, ALL))


@pytest.mark.parametrize("seed", range(6))
def test_damage_leaves_only_right_frames(tmp_path: Path, seed: int) -> None:
    """Frames before the damage are those of the whole file, bit by bit."""
    whole = made.write(tmp_path / "w.mp4", frames=100, options={"bf": "3", "g": "30"})
    data = bytearray(whole.read_bytes())
    rng = np.random.default_rng(seed)
    pictures_end = data.index(b"moov")
    at = int(rng.integers(pictures_end * 5 // 10, pictures_end * 9 // 10))
    data[at : at + 300] = rng.bytes(300)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    found = survey(broken)
    assert not found.whole
    every = np.arange(len(found.times))
    truth = PyAV().frames(whole, survey(whole), every)
    for one, other in zip(PyAV().frames(broken, found, every), truth, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(Refused, match="damaged"):
        next(Decord().frames(broken, found, every))


def unusable(folder: Path) -> dict[Path, str]:
    empty, text, screen = folder / "zero.mp4", folder / "text.mp4", folder / "notes.txt"
    playlist, still = folder / "list.mp4", folder / "still.png"
    empty.touch()
    text.write_text("not a video\n" * 99)
    screen.write_text("not a video\n" * 99)
    playlist.write_text("ffconcat version 1.0\nfile whole.mp4\n")
    cv2.imwrite(str(still), made.make_image(1))
    whole = made.write(folder / "whole.mp4", frames=5)
    return {
        empty: "the file is empty",
        text: "not a video",
        screen: "not a video",
        playlist: "not a video",
        still: "not a video",
        made.cut(whole, folder / "headless.mp4", 0.5): "not a video",
        made.sound_only(folder / "sound.mp4"): "sound only",
    }


def test_what_is_no_video_is_a_bad_clip(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for path, reason in unusable(tmp_path).items():
        capfd.readouterr()
        with pytest.raises(ClipError, match=reason):
            probe(path)
        with pytest.raises(ClipError, match=reason):
            list(sample_frames(path, ALL))
        assert capfd.readouterr() == ("", ""), f"{path.name} makes the libraries talk"


def test_probe_reads_the_header(videos: Path) -> None:
    info = probe(video(videos, "h264.mp4"))
    assert (info.fps, info.frames, info.codec, info.rotation) == (25.0, 60, "h264", 0)
    assert (info.width, info.height, info.duration_s) == (320, 240, pytest.approx(2.4))


def test_a_window_is_half_open(videos: Path) -> None:
    path = video(videos, "h264.mp4")
    assert numbers(path, ALL, start_s=0.4, end_s=0.8) == list(range(10, 20))
    kept = list(sample_frames(path, ALL, 0.4, 0.8))
    assert [frame.index for frame in kept] == list(range(10, 20))
    assert kept[0].time_s == pytest.approx(0.4)


def test_a_window_past_the_end_is_a_bad_clip(videos: Path) -> None:
    with pytest.raises(ClipError, match="no frame between 5 s and 6 s"):
        list(sample_frames(video(videos, "h264.mp4"), ALL, 5.0, 6.0))


def test_max_side_shrinks_and_never_enlarges() -> None:
    checks = np.indices((240, 321)).sum(0) % 2 * 255
    image = np.repeat(checks[:, :, None], 3, axis=2).astype(np.uint8)
    assert shrink(image, None) is image
    assert shrink(image, 400) is image
    small = shrink(image, 107)
    assert small.shape == (80, 107, 3)
    # the mean of each 3x3 block of a chessboard is 4/9 or 5/9 of white: nothing aliases
    assert set(np.unique(small)) <= set(range(112, 143))


def test_jpeg_keeps_red_red() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    back = decode_jpeg(encode_jpeg(red, 95))
    assert np.abs(back.astype(int) - red).max() <= 4


def clip_of(path: Path, **more: float) -> Clip:
    return Clip("one", path.name, file_sha256(path), **more)


def test_the_table_of_a_clip(videos: Path) -> None:
    path = video(videos, "h264.mp4")
    work = DecodeClip({"": videos}, DecodeParams(frames=5))
    table = pa.concat_tables(work.run(clip_of(path)))
    assert table.column_names == work.schema.names[1:]
    assert table["frame_index"].to_pylist() == [6, 18, 30, 42, 54]
    assert table.equals(pa.concat_tables(work.run(clip_of(path))))
    first = decode_jpeg(table["jpeg"][0].as_py())
    assert first.shape == (table["height"][0].as_py(), table["width"][0].as_py(), 3)


def test_the_key_follows_what_matters(videos: Path) -> None:
    clip = clip_of(video(videos, "h264.mp4"))
    key = DecodeClip({"": videos}, DecodeParams()).key(clip)
    assert key == DecodeClip({"": videos / "elsewhere"}, DecodeParams()).key(clip)
    assert key != DecodeClip({"": videos}, DecodeParams(frames=17)).key(clip)
    assert key != DecodeClip({"": videos}, DecodeParams()).key(
        clip_of(video(videos, "h264.mp4"), start_s=1.0)
    )
    renamed = Clip("two", "other.mp4", clip.sha256, label="joy")
    assert key == DecodeClip({"": videos}, DecodeParams()).key(renamed)


def test_a_file_that_is_not_the_listed_one_stops_the_run(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.mp4", frames=5)
    clip = clip_of(path)
    work = DecodeClip({"": tmp_path}, DecodeParams())
    made.write(path, frames=6)
    with pytest.raises(UserError, match="changed since it was listed"):
        pa.concat_tables(work.run(clip))
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        pa.concat_tables(work.run(clip))
