"""Results of runs: read, looked at, rendered."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence, Union

from flowbench import _tables
from flowbench._comparison import Comparison
from flowbench._distribution import Distribution, pyplot
from flowbench._errors import FlowbenchError, NotPassed, error_of
from flowbench._process import StrPath, output
from flowbench._verdicts import Reason, Verdict, kind_of, verdict_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Threshold:
    """A condition on a scenario, and what came of it."""

    that: str
    verdict: Verdict
    #: The value, in `unit`: `ms`, `share`, `per_s` or `count`. None if there is none, or it is among failed requests.
    actual: float | None
    unit: str
    reason: str | None

    @property
    def passed(self) -> bool:
        """Whether it was met."""
        return self.verdict is Verdict.PASSED

    def __str__(self) -> str:
        actual = {
            "ms": f"{_tables.number(self.actual)} ms",
            "share": _tables.percent(self.actual),
            "per_s": f"{_tables.number(self.actual)}/s",
        }.get(self.unit, _tables.number(self.actual))
        why = f": {self.reason}" if self.reason else ""
        return f"{self.that}: {self.verdict}, actual {actual}{why}"


class Scenario:
    """What one scenario measured. `data` has all of it, as docs/report.md describes."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    @property
    def name(self) -> str:
        """Its name, with its matrix values."""
        return str(self.data["name"])

    @property
    def verdict(self) -> Verdict:
        """What its thresholds came to."""
        return verdict_of(self.data["verdict"])

    @property
    def passed(self) -> bool:
        """Whether all its thresholds were met."""
        return self.verdict is Verdict.PASSED

    @property
    def valid(self) -> bool:
        """Whether its figures may be quoted."""
        return bool(self.data["validity"]["valid"])

    @property
    def reasons(self) -> list[Reason]:
        """Why they may not."""
        return [Reason.of(reason) for reason in self.data["validity"]["reasons"]]

    @property
    def thresholds(self) -> list[Threshold]:
        """Its thresholds, with actual values."""
        return [
            Threshold(t["that"], verdict_of(t["verdict"]), t["actual"], t["unit"], _text(t.get("reason")))
            for t in self.data["thresholds"]
        ]

    @property
    def requests(self) -> int:
        """Requests that were due, those dropped included."""
        return int(self.data["requests"]["arrivals"])

    @property
    def ok(self) -> int:
        """Requests that succeeded."""
        return int(self.data["requests"]["ok"])

    @property
    def failed(self) -> int:
        """Requests that failed, timed out, were dropped or abandoned."""
        kinds = ("response_errors", "transport_errors", "timeouts", "dropped", "abandoned")
        return sum(int(self.data["requests"][kind]) for kind in kinds)

    @property
    def error_rate(self) -> float | None:
        """The share that failed."""
        return _float(self.data["error_rate"])

    @property
    def throughput(self) -> float | None:
        """Successful requests per second."""
        return _float(self.data["throughput"]["requests_per_s"])

    @property
    def response_time(self) -> Distribution:
        """From when a request was due to its response."""
        return Distribution(self.data["response_time_ms"])

    @property
    def service_time(self) -> Distribution:
        """From when a request was sent to its response."""
        return Distribution(self.data["service_time_ms"])

    @property
    def executors(self) -> dict[str, Distribution]:
        """The time in each Executor, by name; empty where responses have no routes."""
        executors = self.data.get("executors") or []
        return {each["name"]: Distribution(each["time_ms"]) for each in executors}

    @property
    def timeline(self) -> list[dict[str, Any]]:
        """One dict for each second, without its histograms."""
        hidden = ("histogram", "service_histogram")
        return [{key: value for key, value in second.items() if key not in hidden} for second in self.data["timeline"]]

    @property
    def row(self) -> dict[str, Any]:
        """Its line of `Result.scenarios`. Percentiles that it has too few requests for are None."""
        throughput = self.data["throughput"]
        row: dict[str, Any] = {
            "name": self.name,
            "verdict": str(self.verdict),
            "valid": self.valid,
            "requests": self.requests,
            "ok": self.ok,
            "failed": self.failed,
            "error_rate": self.error_rate,
            "offered_per_s": throughput["offered_per_s"],
            "requests_per_s": throughput["requests_per_s"],
            "documents_per_s": throughput["documents_per_s"],
        }
        for name in ("mean", "p50", "p90", "p95", "p99", "max"):
            row[f"{name}_ms"] = _tables.told(self.data["response_time_ms"], name)
        for name in ("p50", "p99"):
            row[f"service_{name}_ms"] = _tables.told(self.data["service_time_ms"], name)
        for key, value in self.data.get("matrix", {}).items():
            row[f"matrix.{key}"] = value
        return row

    def __repr__(self) -> str:
        p99 = _tables.told_ms(self.data["response_time_ms"], "p99")
        return f"<Scenario {self.name!r}: {self.verdict}, {self.requests:,} requests, p99 {p99}>"


class Result:
    """What a run measured, and whether it passed. `data` has all of it, as docs/report.md describes."""

    def __init__(self, data: Mapping[str, Any], folder: Path | None = None) -> None:
        self.data = data
        #: The folder of its reports; None if there is none.
        self.folder = folder

    @property
    def suite(self) -> str:
        """Name of the suite."""
        return str(self.data["suite"])

    @property
    def verdict(self) -> Verdict:
        """What all its scenarios came to."""
        return verdict_of(self.data["verdict"])

    @property
    def passed(self) -> bool:
        """Whether all thresholds of all scenarios were met."""
        return self.verdict is Verdict.PASSED

    @property
    def interrupted(self) -> bool:
        """Whether the run was ended early."""
        return bool(self.data["interrupted"])

    @property
    def duration_s(self) -> float:
        """How long it took."""
        return float(self.data["duration_s"])

    @property
    def report(self) -> Path | None:
        """The page for people."""
        page = self.folder / "report.html" if self.folder else None
        return page if page and page.is_file() else None

    @property
    def comparison(self) -> Comparison | None:
        """The comparison with the baseline that `run` was given."""
        data = self.data.get("comparison")
        return Comparison(data, None) if data else None

    def __iter__(self) -> Iterator[Scenario]:
        return (Scenario(data) for data in self.data["scenarios"])

    def __len__(self) -> int:
        return len(self.data["scenarios"])

    def __contains__(self, name: object) -> bool:
        return any(scenario.name == name for scenario in self)

    def __getitem__(self, name: str) -> Scenario:
        return self.scenario(name)

    def scenario(self, name: str | None = None) -> Scenario:
        """A scenario by its name, which may be left out if there is only one."""
        all = list(self)
        if name is None and len(all) == 1:
            return all[0]
        for scenario in all:
            if scenario.name == name:
                return scenario
        names = ", ".join(repr(scenario.name) for scenario in all)
        wrong = "name one of them" if name is None else f"there is no scenario {name!r}"
        raise KeyError(f"{wrong}; there are {names}")

    @property
    def scenarios(self) -> pd.DataFrame:
        """A row for each scenario. A list of dicts where pandas is not installed."""
        return _tables.frame([scenario.row for scenario in self])

    @property
    def thresholds(self) -> pd.DataFrame:
        """A row for each threshold. A list of dicts where pandas is not installed."""
        rows = []
        for scenario in self:
            for threshold in scenario.thresholds:
                row: dict[str, Any] = {"scenario": scenario.name, **vars(threshold)}
                row["verdict"] = str(threshold.verdict)
                rows.append(row)
        return _tables.frame(rows)

    def histogram(self, scenario: str | None = None) -> Distribution:
        """Response times of a scenario, which may be left out if there is only one."""
        return self.scenario(scenario).response_time

    def timeline(self, scenario: str | None = None) -> pd.DataFrame:
        """A row for each second of a scenario, or of all of them. A list of dicts where pandas is not installed."""
        chosen = list(self) if scenario is None else [self.scenario(scenario)]
        rows = []
        for each in chosen:
            for second in each.timeline:
                row = {"scenario": each.name, **second}
                for name, time in row.pop("executors", {}).items():
                    row[f"executor.{name}"] = time
                row.update({f"errors.{k}": n for k, n in row.pop("kinds", {}).items()})
                rows.append(row)
        return _tables.frame(rows)

    def plot(self, scenario: str | None = None) -> Any:
        """Draws response times and throughput over time with matplotlib; returns the figure."""
        plt = pyplot()
        chosen = self.scenario(scenario)
        seconds = chosen.timeline
        t = [second["t_s"] for second in seconds]
        figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(8, 5))
        for name, line in (("p50", "-"), ("p99", "--"), ("max", ":")):
            above.plot(t, [second[name] for second in seconds], line, label=name)
        for name, line in (("offered", "--"), ("ok", "-"), ("errors", ":")):
            below.plot(t, [second[name] for second in seconds], line, label=name)
        above.set_ylabel("response time, ms")
        below.set_ylabel("requests per second")
        below.set_xlabel("s")
        for axes in (above, below):
            axes.set_ylim(bottom=0)
            axes.legend()
        above.set_title(chosen.name)
        return figure

    def save(self, path: StrPath) -> Path:
        """Writes it in the format of the ending: `.html`, `.json`, `.xml` (JUnit), `.md`, `.csv`, `.hlog`, `.prom`."""
        with self.as_file() as file:
            code, _, said = output(["report", str(file), "--output", os.fspath(path)])
        if code != 0:
            raise error_of(code, said)
        return Path(path)

    def raise_for_verdict(self) -> Result:
        """Raises `NotPassed` unless all thresholds were met."""
        if not self.passed:
            raise NotPassed(self.explain(), str(self.verdict))
        return self

    def explain(self) -> str:
        """The verdict, and each threshold that was not met."""
        lines = [f"{self.suite}: {self.verdict}"]
        for scenario in self:
            if scenario.passed:
                continue
            lines.append(f"  {scenario.name}: {scenario.verdict}")
            message = scenario.data["end"].get("message")
            if message:
                lines.append(f"    {message}")
            lines.extend(f"    {t}" for t in scenario.thresholds if not t.passed)
            lines.extend(f"    not valid: {reason}" for reason in scenario.reasons)
            for error in scenario.data["errors"][:3]:
                lines.append(f"    {error['count']:,} × {error['kind']}: {error['message']}")
        if self.report:
            lines.append(f"  {self.report}")
        return "\n".join(lines)

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """The result as a file that the program reads."""
        saved = self.folder / "report.json" if self.folder else None
        if saved and saved.is_file():
            yield saved
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "report.json"
            file.write_text(json.dumps(self.data))
            yield file

    def __repr__(self) -> str:
        return f"<Result of {self.suite!r}: {self.verdict}, {len(self)} scenarios>"

    def _repr_html_(self) -> str:
        head = ["scenario", "requests", "rate", "p50", "p99", "failed", ""]
        rows = [
            [
                (s.name, ""),
                (f"{s.requests:,}", ""),
                (f"{_tables.number(s.throughput)}/s", ""),
                (_tables.told_ms(s.data["response_time_ms"], "p50"), ""),
                (_tables.told_ms(s.data["response_time_ms"], "p99"), ""),
                (_tables.percent(s.error_rate), ""),
                (str(s.verdict), f"words {kind_of(s.verdict)}"),
            ]
            for s in self
        ]
        page = ""
        if self.report:
            page = f"<p>{escape(str(self.report))}</p>"
        details = ""
        if not self.passed:
            details = f"<pre>{escape(self.explain())}</pre>"
        return (
            f'{_tables.STYLE}<div class="flowbench"><b class="{kind_of(self.verdict)}">'
            f"{escape(self.suite)}: {self.verdict}</b> after {_tables.number(self.duration_s)} s"
            f"{_tables.html_table(head, rows)}{details}{page}</div>"
        )


def load(path: StrPath) -> Result:
    """Reads a saved result: a `report.json`, the folder of a run, or the `journal.jsonl` of a run that was killed."""
    file = Path(path)
    folder = file if file.is_dir() else file.parent
    if file.is_dir():
        names = ("report.json", "journal.jsonl")
        found = [file / name for name in names if (file / name).is_file()]
        if not found:
            raise FileNotFoundError(f"there is no result in {file}")
        file = found[0]
    code, data, said = output(["report", str(file), "--format", "json"])
    if code != 0:
        raise error_of(code, said)
    # A file of another name is nobody's report folder.
    return Result(_json(data), folder if file.name in ("report.json", "journal.jsonl") else None)


def _json(data: bytes) -> Mapping[str, Any]:
    read = json.loads(data)
    if not isinstance(read, dict) or not str(read.get("schema", "")).startswith("flowbench."):
        raise FlowbenchError("it is no result of flowbench")
    return read


#: What may be given where results are wanted: a `Result`, a `report.json`, a folder of results, or a list of these.
Side = Union[Result, StrPath, Sequence[Union[Result, StrPath]]]


@contextmanager
def as_files(results: Side) -> Iterator[list[str]]:
    """A result or several, each as a path that the program reads."""
    if isinstance(results, (Result, str, os.PathLike)):
        results = [results]
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, result in enumerate(results):
            if not isinstance(result, Result):
                paths.append(os.fspath(result))
                continue
            with result.as_file() as file:
                if file.parent != result.folder:
                    # Its own file goes when the block ends.
                    copy = Path(folder) / f"result-{number}.json"
                    copy.write_bytes(file.read_bytes())
                    file = copy
            paths.append(str(file))
        yield paths


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _text(reason: Any) -> str | None:
    if reason is None:
        return None
    return str(reason.get("text", reason)) if isinstance(reason, dict) else str(reason)
