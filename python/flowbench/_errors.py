"""Everything that can go wrong, as exceptions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Sequence


@dataclass(frozen=True)
class Problem:
    """One mistake, and where it is."""

    message: str
    #: The file, or None if the mistake is on the command line.
    file: str | None = None
    #: Line and column, counted from 1.
    line: int | None = None
    column: int | None = None
    #: What to do about it.
    help: str | None = None
    #: All of it as the program prints it, with the line of the file.
    text: str = ""

    def __str__(self) -> str:
        return self.text or self.message


class FlowbenchError(Exception):
    """The program ended without a result. All exceptions of this package are of this class."""

    #: Exit code of the program, see docs/commands.md; None if it did not run.
    exit_code: int | None

    def __init__(
        self, message: str, *, exit_code: int | None = None, problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.problems: list[Problem] = list(problems)

    def _first(self) -> Problem | None:
        return self.problems[0] if self.problems else None

    @property
    def message(self) -> str:
        """The first problem in a line."""
        first = self._first()
        return first.message if first else str(self)

    @property
    def file(self) -> str | None:
        """The file of the first problem."""
        first = self._first()
        return first.file if first else None

    @property
    def line(self) -> int | None:
        """The line of the first problem, counted from 1."""
        first = self._first()
        return first.line if first else None

    @property
    def column(self) -> int | None:
        """The column of the first problem, counted from 1."""
        first = self._first()
        return first.column if first else None

    @property
    def help(self) -> str | None:
        """What to do about the first problem."""
        first = self._first()
        return first.help if first else None


class BinaryNotFound(FlowbenchError):
    """There is no program to drive."""


class SuiteError(FlowbenchError):
    """A suite, a result or an argument is wrong (exit code 2). `problems` has every mistake with its place."""


class Unreachable(FlowbenchError):
    """Something could not be reached or started (exit code 3)."""


class NotWritten(FlowbenchError):
    """A report could not be written (exit code 5)."""


class NotPassed(FlowbenchError):
    """A run or comparison did not pass, and `check=True` asked for an exception."""

    def __init__(self, message: str, verdict: str) -> None:
        codes = {"failed": 1, "regressed": 1, "not_reached": 3, "inconclusive": 4, "interrupted": 130}
        super().__init__(message, exit_code=codes.get(verdict))
        self.verdict = verdict


_ERROR = re.compile(r"^error: ", re.MULTILINE)
_PLACE = re.compile(r"^\s*--> (?P<file>.+):(?P<line>\d+):(?P<column>\d+)$", re.MULTILINE)
_HELP = re.compile(r"^\s*= help: (?P<help>.+)$", re.MULTILINE)


def problems_in(text: str) -> list[Problem]:
    """Takes apart what the program prints: errors in rustc's layout."""
    problems = []
    starts = [found.start() for found in _ERROR.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)]):
        part = text[start:end].rstrip()
        place, help = _PLACE.search(part), _HELP.search(part)
        problems.append(
            Problem(
                message=part.splitlines()[0][len("error: ") :],
                file=place["file"] if place else None,
                line=int(place["line"]) if place else None,
                column=int(place["column"]) if place else None,
                help=help["help"] if help else None,
                text=part,
            )
        )
    return problems


def error_of(exit_code: int, text: str) -> FlowbenchError:
    """The exception for a program that ended with this code and said this."""
    problems = problems_in(text)
    message = "\n\n".join(problem.text for problem in problems)
    if not message:
        how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        message = text.strip() or f"flowbench ended without a word, with {how}"
    kinds: dict[int, type[FlowbenchError]] = {2: SuiteError, 3: Unreachable, 5: NotWritten}
    return kinds.get(exit_code, FlowbenchError)(message, exit_code=exit_code, problems=problems)
