"""Which frames a video will turn out to have, from its packets alone: 0.02 ms per frame.

A forecast lets frames be chosen before they are decoded, so that one pass over the file is
enough. It may be wrong; `survey` is what counts.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from arpgnet.pipeline.video.container import frame_rate, open_video


def forecast_times(path: Path) -> np.ndarray | None:
    """Return times of the frames, seconds after the first, float64 [n] rising; None if unknowable.

    Raises:
        ClipError: the file is empty, not a video, or has sound only.
        UserError: the file is absent or may not be read.
    """
    with open_video(path) as (container, stream):
        rate = frame_rate(stream)
        stamps: list[int | None] = []
        last, joined = None, False
        try:
            for packet in container.demux(stream):
                # the last one, of no bytes, only flushes the decoder
                if packet.size and not packet.is_discard:
                    joined |= None not in (last, packet.dts) and packet.dts < last
                    last = packet.dts
                    stamps.append(packet.pts)
        except (av.FFmpegError, OSError):
            pass  # as far as it goes
        if container.format.name == "avi":
            return np.arange(len(stamps)) / rate if stamps and rate else None
        if joined:
            return None  # recordings that were joined; or damage
        known = [stamp for stamp in stamps if stamp is not None]
        if not known or len(known) != len(stamps) or stream.time_base is None:
            return None
        ticks = np.unique(np.array(known, dtype=np.int64))
        return (ticks - ticks[0]).astype(np.float64) * float(stream.time_base)
