"""The two ways things go wrong: a mistake of the user's, and a bad clip."""

from __future__ import annotations

from arpgnet.pipeline.common.wording import shown


class UserError(Exception):
    """A mistake the user can fix: one line that says what, where, and what to do.

    Stages and commands print it without a traceback and exit with status 1. Names in it may have
    any bytes: see `shown`.
    """

    def __init__(self, line: str) -> None:
        super().__init__(shown(line))


class ClipError(Exception):
    """A clip that cannot be used. The run goes on; the clip is quarantined with `reason`.

    Args:
        reason: a short human sentence without paths, e.g. ``"no face found"``.
    """

    def __init__(self, reason: str) -> None:
        self.reason = shown(reason)
        super().__init__(self.reason)


class NotAVideoError(ClipError):
    """A file that is no video that FFmpeg knows; it may be something else."""
