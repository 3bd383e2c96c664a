"""`arpgnet serve`: a mistake is one line."""

import os
import socket
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arpgnet.pipeline.cli import serve as cli_serve
from arpgnet.pipeline.cli.main import app
from arpgnet.pipeline.common.errors import UserError
from helpers.untrained_run import write_run


def line(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, ["serve", "--port", "0", *map(str, arguments)])
    assert isinstance(done.exception, UserError), done.exception
    assert len(str(done.exception).splitlines()) == 1
    return str(done.exception)


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = lambda name: None if name == "uvicorn" else find_spec(name)  # noqa: E731
    monkeypatch.setattr(cli_serve, "find_spec", absent)
    assert "pip install 'arpgnet[serve]'" in line()


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    assert "is not a folder" in line("--root", tmp_path / "absent")


@pytest.mark.parametrize("content", ["", "short", "x" * 15, "passwörd-of-some-length"])
def test_a_weak_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (tmp_path / "token").write_text(content, encoding="utf-8")
    assert "at least 16 characters" in line("--token-file", tmp_path / "token")
    monkeypatch.setenv("ARPGNET_TOKEN", content)
    assert "ARPGNET_TOKEN: a token needs" in line()


def test_a_token_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read" in line("--token-file", tmp_path / "absent")


def test_a_folder_that_others_can_read(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    assert "chmod 700" in line("--keep", tmp_path / "open")
    (tmp_path / "file").touch()
    assert "cannot be written" in line("--keep", tmp_path / "file")


def test_an_address_that_is_not_to_be_had() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "choose another --port" in line("--port", port)
    assert "--host no.such.host.invalid" in line("--host", "no.such.host.invalid")


def test_a_model_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert "params.yaml" in line("--model", tmp_path / "absent")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_what_every_video_would_fail_of_is_said_at_the_start(tmp_path: Path) -> None:
    assert "set --window SECONDS" in line("--model", write_run(tmp_path / "run"))
