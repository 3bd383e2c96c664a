"""The project's commands called in the test's own process.

A process of their own takes 2 to 5 s to import what they need. That they also start as programs is
tested once each: `arpgnet` in tests/pipeline/cli/test_cli.py,
the stages in tests/test_end_to_end.py.
"""

import contextlib
import io
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from arpgnet.pipeline.cli import main as cli
from arpgnet.pipeline.common.stage import run

REPOSITORY = Path(__file__).parents[2]


def arpgnet(*arguments: str, folder: Path = REPOSITORY) -> CompletedProcess[str]:
    """`arpgnet` with these arguments, in a folder."""
    return _called(cli.main, ["arpgnet", *arguments], folder)


def stage(name: str, folder: Path) -> CompletedProcess[str]:
    """`python -m arpgnet.stages.<name>` in a folder."""
    main = import_module(f"arpgnet.stages.{name}").main
    return _called(lambda: run(main), [name], folder)


def _called(main: Callable[[], None], words: list[str], folder: Path) -> CompletedProcess[str]:
    """What a program ends with and says."""
    code = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as said,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        patch.chdir(folder)
        patch.setattr(sys, "argv", words)
        try:
            main()
        except SystemExit as end:
            # as the interpreter does
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
    return CompletedProcess(words, code, said.getvalue(), errors.getvalue())
