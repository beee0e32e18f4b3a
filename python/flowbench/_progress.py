"""How far a run is: in a cell of a notebook that changes, or as lines on a terminal."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any, Protocol

from flowbench._process import Process
from flowbench._tables import STYLE

#: How often a cell changes.
_REDRAW_S = 0.5
#: Lines of a run that a cell shows.
_LINES = 12


class Progress(Protocol):
    """Something that shows a run."""

    def show(self, process: Process, since: int, over: bool = False) -> int:
        """Shows what it said after so many lines; returns how many that are now."""


class Lines:
    """Lines on stderr."""

    def show(self, process: Process, since: int, over: bool = False) -> int:
        """Prints new lines."""
        said = process.said
        for line in process.lines(since):
            print(line, file=sys.stderr, flush=True)
        return said


class Cell:
    """A cell that shows the time and the last lines, and is emptied when the run has ended."""

    def __init__(self, display: Any) -> None:
        self._begun = time.monotonic()
        self._drawn = 0.0
        self._handle = display.display(display.HTML(""), display_id=True)
        self._display = display

    def show(self, process: Process, since: int, over: bool = False) -> int:
        """Redraws the cell."""
        now = time.monotonic()
        if over:
            self._handle.update(self._display.HTML(""))
        elif now - self._drawn >= _REDRAW_S:
            self._drawn = now
            lines = "\n".join(process.lines()[-_LINES:])
            text = f"running for {now - self._begun:.0f} s\n{lines}"
            page = f'{STYLE}<div class="flowbench"><pre>{escape(text)}</pre></div>'
            self._handle.update(self._display.HTML(page))
        return process.said


def progress_of(wanted: bool | None) -> Progress | None:
    """What shows a run here: by default, whatever shows it well."""
    if wanted is False:
        return None
    cell = _notebook()
    if cell is not None:
        return Cell(cell)
    return Lines() if wanted or sys.stderr.isatty() else None


def _notebook() -> Any:
    """IPython's displays, if this is a notebook."""
    if "IPython" not in sys.modules:
        return None
    import IPython
    from IPython import display

    shell = IPython.get_ipython()
    is_notebook = shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
    return display if is_notebook else None
