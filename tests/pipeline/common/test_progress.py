import itertools

import pytest

from arpgnet.pipeline.common import progress, stage
from arpgnet.pipeline.common.errors import UserError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds pass between any two looks at the clock."""
    ticks = itertools.count(0, 2)
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))


def test_a_short_job_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.track(3, "short", "clips") as tracker:
        for _ in range(3):
            tracker.advance()
    assert capfd.readouterr() == ("", "")


def test_a_long_job_says_something_now_and_then(
    clock: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with progress.track(100, "long", "epochs") as tracker:
        for _ in range(20):
            tracker.advance(5)
    captured = capfd.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert 2 <= len(lines) <= 10
    assert lines[0].startswith("long: 25/100 epochs, ")
    assert lines[0].endswith(" left")
    assert lines[-1].startswith("long: 100/100 epochs, ")


def test_what_an_earlier_run_has_finished_says_nothing_of_the_pace(
    clock: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with progress.track(100, "long", "epochs") as tracker:
        tracker.advance(60, restored=True)
        for _ in range(6):
            tracker.advance(5)
    # this run's 20 took 12 s, and 20 are left
    assert capfd.readouterr().err.splitlines()[0] == "long: 80/100 epochs, 1.7/s, 0:12 left"


def test_progress_can_be_watched_in_silence(clock: None, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    with progress.track(
        6, "job", "clips", quiet=True, watch=lambda *now: seen.append(now)
    ) as tracker:
        for _ in range(3):
            tracker.advance(2)
    assert seen == [(2, 6), (4, 6), (6, 6)]
    assert capfd.readouterr() == ("", "")


def test_notes_go_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.track(1, "job", "clips") as tracker:
        tracker.note("[c1] a worker died")
    assert capfd.readouterr() == ("", "[c1] a worker died\n")


def mistaken() -> None:
    raise UserError("params.yaml not found: run from its folder")


def interrupted() -> None:
    raise KeyboardInterrupt


def test_a_stage_ends_with_one_line_and_a_status(capfd: pytest.CaptureFixture[str]) -> None:
    for main, code, line in (
        (mistaken, 1, "error: params.yaml not found: run from its folder\n"),
        (interrupted, 130, "interrupted: finished results are cached; run again to continue\n"),
    ):
        with pytest.raises(SystemExit) as ended:
            stage.run(main)
        assert ended.value.code == code
        assert capfd.readouterr() == ("", line)


def test_a_bug_in_a_stage_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        stage.run(lambda: print(1 // 0))
