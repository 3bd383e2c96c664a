"""What every stage's file ends with: mistakes as one line, not as a traceback."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.run_times import note_run_time


def run(main: Callable[[], None]) -> None:
    """Call a stage's `main`; a user's mistake exits with 1, Ctrl-C with 130.

    How long it took is noted under the name of its file.
    """
    began = time.monotonic()
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: finished results are cached; run again to continue", file=sys.stderr)
        sys.exit(130)
    note_run_time(Path(inspect.getfile(main)).stem, time.monotonic() - began)
