"""Runs: started, shown, stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, Mapping, Sequence, Union

from flowbench._errors import FlowbenchError, Problem, SuiteError, error_of, problems_in
from flowbench._process import Process, StrPath, output, words
from flowbench._progress import Progress, progress_of
from flowbench._results import Result, Side, as_files, load

Suite = Union[StrPath, Mapping[str, Any]]
#: A suite on stdin.
_STDIN = "-"
#: How often a run is looked at.
_INTERVAL_S = 0.1
#: How long reading a suite and its data sets may take before a run is ended without a report.
_BEGIN_S = 30.0


class Interrupted(KeyboardInterrupt):
    """A run was interrupted, by Ctrl-C or a notebook's stop button. `result` is what it measured until then."""

    def __init__(self, result: Result | None) -> None:
        where = f"; its report is in {result.folder}" if result else ""
        super().__init__(f"the run was interrupted{where}")
        self.result = result


class Run:
    """A run on its way. `stop` ends it early; `wait` gives its result.

    As a context manager, it is stopped at the end of the block if it still runs.
    """

    def __init__(self, process: Process, folder: Path) -> None:
        self._process = process
        self._interrupts = 0
        #: The folder that its reports go into.
        self.folder = folder

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.code is None

    def stop(self, now: bool = False) -> None:
        """Sends nothing new, and waits for what is in flight. With `now`, does not wait. The report is written."""
        # Before it has a journal, it does not listen to signals, and would end without a report.
        until = time.monotonic() + _BEGIN_S
        while not self._begun() and self.running and time.monotonic() < until:
            time.sleep(_INTERVAL_S / 10)
        for _ in range((2 if now else 1) - self._interrupts):
            self._process.signal(signal.SIGINT)
            self._interrupts += 1
            if now:
                time.sleep(_INTERVAL_S)  # two signals at once are one

    def _begun(self) -> bool:
        return (self.folder / "journal.jsonl").exists()

    def wait(self, timeout: float | None = None) -> Result:
        """Its result, when it has ended. After `timeout` seconds, `TimeoutError`, and the run goes on."""
        return self._wait(None, timeout)

    def _wait(self, progress: Progress | None, timeout: float | None = None) -> Result:
        until = None if timeout is None else time.monotonic() + timeout
        shown = 0
        while True:
            try:
                code = self._process.wait(_INTERVAL_S)
                break
            except subprocess.TimeoutExpired:
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(f"the run has not ended within {timeout} s") from None
            if progress:
                shown = progress.show(self._process, shown)
        if progress:
            progress.show(self._process, shown, over=True)
        return self._result(code)

    def _result(self, code: int) -> Result:
        # 2 is also the code of a request that could not be built, in a run that has a report.
        if code in (0, 1, 2, 3, 4, 130) and (self.folder / "report.json").is_file():
            result = load(self.folder)
            comparison = self.folder / "comparison.json"
            if comparison.is_file():
                result.data = {**result.data, "comparison": json.loads(comparison.read_text())}
            return result
        error = error_of(code, self._process.text)
        if (self.folder / "journal.jsonl").is_file():
            raise FlowbenchError(
                f"{error}\nwhat was measured: flowbench.load({str(self.folder)!r})",
                exit_code=code,
                problems=error.problems,
            )
        raise error

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.running:
            self.stop()
        self._process.wait()

    def __repr__(self) -> str:
        state = "running" if self.running else "ended"
        return f"<Run into {str(self.folder)!r}: {state}>"


def start(
    suite: Suite,
    *,
    set: Mapping[str, Any] | None = None,
    only: Sequence[str] | str = (),
    out: StrPath | None = None,
    baseline: Side = (),
    gates: Sequence[str] | str = (),
    env: Mapping[str, str] | None = None,
) -> Run:
    """Starts a run and returns at once. The arguments are those of `run`."""
    path, text = _suite(suite)
    folder = Path(out) if out is not None else _folder(suite)
    # A result that an earlier run left there is not the one of this run.
    for name in ("report.json", "comparison.json"):
        if (folder / name).exists():
            raise SuiteError(
                f"`out`: there is a result in {folder} already; give each run a folder of its own",
                exit_code=2,
            )
    arguments = ["run", path, "--out", str(folder), "--json"]
    for key, value in (set or {}).items():
        arguments += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    for name in words(only):
        arguments += ["--only", name]
    for gate in words(gates):
        arguments += ["--gate", gate]
    with as_files(baseline) as files:
        for file in files:
            arguments += ["--baseline", file]
        process = Process(arguments, input=text, env=env)
        started = Run(process, folder)
        if files:
            # Those of results without a folder go when the block ends; the program reads them before it begins.
            while started.running and not started._begun():
                time.sleep(_INTERVAL_S / 10)
    return started


def run(
    suite: Suite,
    *,
    set: Mapping[str, Any] | None = None,
    only: Sequence[str] | str = (),
    out: StrPath | None = None,
    baseline: Side = (),
    gates: Sequence[str] | str = (),
    env: Mapping[str, str] | None = None,
    progress: bool | None = None,
    check: bool = False,
) -> Result:
    """Runs a suite and returns its result.

    `suite` is a file, or a suite as a dict. `set` sets variables of the suite, `only` selects scenarios, `out` is the
    folder for the reports (default `reports/NAME-TIME`), `env` adds environment variables. With `baseline`, the run is
    compared with these results by `gates`, see `Result.comparison`.

    `progress` shows how far the run is: by default in a notebook and on a terminal. With `check`, a run that did not pass
    is the exception `NotPassed`. Ctrl-C, or a notebook's stop button, ends the run early, keeps its report and raises
    `Interrupted`; a second one does not wait for what is in flight.
    """
    with start(
        suite, set=set, only=only, out=out, baseline=baseline, gates=gates, env=env
    ) as running:
        shown = progress_of(progress)
        interrupted = False
        while True:
            try:
                result = running._wait(shown)
                break
            except KeyboardInterrupt:
                running.stop(now=interrupted)
                interrupted = True
            except FlowbenchError:
                if interrupted:
                    raise Interrupted(None) from None
                raise
    if interrupted:
        raise Interrupted(result)
    if check:
        result.raise_for_verdict()
        if result.comparison:
            result.comparison.raise_for_verdict()
    return result


def check(suite: Suite, *, set: Mapping[str, Any] | None = None) -> list[Problem]:
    """Every mistake in a suite, with its place; an empty list if there is none. Nothing is sent."""
    path, text = _suite(suite)
    arguments = ["check", path]
    for key, value in (set or {}).items():
        arguments += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    code, _, said = output(arguments, input=text)
    if code in (0, 2):
        return problems_in(said)
    raise error_of(code, said)


def _suite(suite: Suite) -> tuple[str, str | None]:
    """What the program is told, and what it reads from stdin."""
    if isinstance(suite, (str, os.PathLike)):
        return os.fspath(suite), None
    # JSON is YAML, and lines of its own make places in it readable.
    return _STDIN, json.dumps({"name": "suite", **suite}, indent=2, ensure_ascii=False)


def _folder(suite: Suite) -> Path:
    """`reports/NAME-TIME`, with a number appended if that exists."""
    named = Path(suite).stem if isinstance(suite, (str, os.PathLike)) else suite.get("name", "suite")
    name = re.sub(r"[^\w.-]", "-", str(named))[:100]
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    for number in range(1, 1000):
        folder = Path("reports") / (f"{name}-{stamp}-{number}" if number > 1 else f"{name}-{stamp}")
        try:
            # Whoever makes it has it: runs that begin at the same time each get one of their own.
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            pass
    return folder
