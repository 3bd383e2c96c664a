"""The two ways things go wrong: a mistake of the user's, and a bad clip."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can fix: one line that says what, where, and what to do.

    Stages and commands print it without a traceback and exit with status 1.
    """


class ClipError(Exception):
    """A clip that cannot be used. The run goes on; the clip is quarantined with `reason`.

    Args:
        reason: a short human sentence without paths, e.g. ``"no face found"``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
