from pathlib import Path

import pytest

from arpgnet.pipeline.networks import image_network as precision
from arpgnet.pipeline.networks.image_network import resolve_precision

WITH = "processor\t: 0\nflags\t\t: fpu sse2 avx512_bf16 avx2\n"
MATRICES = "flags : amx_tile amx_bf16\n"
WITHOUT = "processor\t: 0\nflags\t\t: fpu sse2 avx2 not_avx512_bf16x\n"
ARM = "Features : fp asimd bf16\n"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [(WITH, "bf16"), (MATRICES, "bf16"), (WITHOUT, "fp32"), (ARM, "fp32"), (None, "fp32")],
)
def test_auto_is_bfloat16_where_the_processor_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, expected: str
) -> None:
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    monkeypatch.setattr(precision, "CPU_INFO", path)
    assert resolve_precision("auto", "cpu") == expected
    assert resolve_precision("fp32", "cpu") == "fp32"
    assert resolve_precision("bf16", "cpu") == "bf16"
