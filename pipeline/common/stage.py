"""What every stage's file ends with: mistakes as one line, not as a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from arpgnet.pipeline.common.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Call a stage's `main`; a user's mistake exits with 1, Ctrl-C with 130."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: finished results are cached; run again to continue", file=sys.stderr)
        sys.exit(130)
