"""Processes that write and read the same keys at once, in a folder and on S3."""

import subprocess
import sys
from pathlib import Path

import pytest

from arpgnet.pipeline.store import Store, digest
from helpers.s3_server import Remote

PROCESSES = 8
KEYS = [digest("shared", number) for number in range(6)]
ROUNDS = 2
# each writes tables of its own length and number: a mixture of two would be neither
WRITER = """
import os, sys
import pyarrow as pa
from arpgnet.pipeline.store import Store

number, rounds, folder, address, *keys = sys.argv[1:]
number, rows = int(number), 1000 * (int(number) + 1)
print("ready", flush=True)
sys.stdin.readline()
for place in (folder, address):
    os.environ["ARPGNET_STORE"] = place
    store = Store()
    for key in keys * int(rounds):
        store.put_table("align", key, [pa.table({"by": [number] * rows})] * 2)
        pieces = store.get_table("align", key)
        assert pieces is not None, "a key that has been written is never missing"
        first, second = pieces
        (by,) = set(first["by"].to_pylist())
        assert first == second and first.num_rows == 1000 * (by + 1)
        store.put_failure("align", key, f"bad {number} " * 100)
        reason = store.get_failure("align", key)
        assert reason in {f"bad {one} " * 100 for one in range(8)}, reason
"""


@pytest.mark.slow
def test_eight_processes_write_the_same_keys(tmp_path: Path, remote: Remote) -> None:
    folder = tmp_path / "store"
    places = [str(folder), str(remote.store.root)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(number), str(ROUNDS), *places, *KEYS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    # nobody is done before the last one has begun
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    for store in (Store(folder), remote.store):
        assert store.stats()["align"].entries == 2 * len(KEYS)
        assert store.verify() == []
    files = (path for path in folder.rglob("*") if path.is_file())
    # and nothing else is left
    assert (
        {path.relative_to(folder).as_posix() for path in files}
        == set(remote.objects())
        == {f"align/{key[:2]}/{key}.{kind}" for key in KEYS for kind in ("table", "failure")}
    )
