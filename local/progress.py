"""Shows the progress of the install, on a terminal and in a log. Standard library only."""

import sys
import time

# Without a terminal, one line is printed at this interval.
_PLAIN_INTERVAL_SECONDS = 10.0
# Anything quicker needs no progress line.
_QUIET_SECONDS = 2.0
_LINE_WIDTH = 78


class Progress:
    """One step of work: shows its latest detail and how long it has taken.

    On a terminal one line is rewritten in place; elsewhere a new line is written now and then.
    """

    def __init__(self, step: str) -> None:
        self._step = step
        self._started = time.monotonic()
        self._shown_at = 0.0
        self._terminal = sys.stdout.isatty()
        self._drawn = False

    def update(self, detail: str) -> None:
        """Show `detail`, but not too often to read."""
        elapsed = time.monotonic() - self._started
        since_shown = elapsed - self._shown_at
        interval = 0.2 if self._terminal else _PLAIN_INTERVAL_SECONDS
        if elapsed < _QUIET_SECONDS or (self._drawn and since_shown < interval):
            return
        self._shown_at = elapsed
        self._drawn = True
        line = f"{self._step} ({elapsed:.0f} s) {detail}"[:_LINE_WIDTH].rstrip()
        if self._terminal:
            print(f"\r{line:<{_LINE_WIDTH}}", end="", flush=True)
        else:
            print(line, flush=True)

    def done(self) -> None:
        """Print one line with the duration of the step."""
        elapsed = time.monotonic() - self._started
        line = f"{self._step}: done in {elapsed:.0f} s"
        print(f"\r{line:<{_LINE_WIDTH}}" if self._drawn and self._terminal else line, flush=True)

    def failed(self) -> None:
        """End the progress line, so that the error starts on a new one."""
        if self._drawn and self._terminal:
            print(flush=True)
