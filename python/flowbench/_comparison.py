"""A comparison as it was saved: did it get worse?"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Sequence

from flowbench import _tables
from flowbench._errors import FlowbenchError, NotPassed
from flowbench._process import StrPath
from flowbench._verdicts import Reason, Verdict, kind_of, verdict_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Gate:
    """How much worse a metric may get, and what came of it."""

    scenario: str
    gate: str
    verdict: Verdict
    #: The figures of both sides and the change, as docs/gates.md describes.
    data: Mapping[str, Any]
    reason: Reason | None

    @property
    def passed(self) -> bool:
        """Whether it held."""
        return self.verdict is Verdict.PASSED

    def __str__(self) -> str:
        why = f": {self.reason.text}" if self.reason else ""
        return f"{self.scenario}: {self.gate}: {self.verdict}{why}"


class Comparison:
    """A candidate next to its base. `data` has all of it, as docs/gates.md describes."""

    def __init__(self, data: Mapping[str, Any], again: Callable[[Sequence[str]], object] | None) -> None:
        self.data = data
        # Compares once more, with further options; None where the results are not at hand.
        self._again = again

    @property
    def verdict(self) -> Verdict | None:
        """What all gates came to; None if there are none."""
        saved = self.data["verdict"]
        return verdict_of(saved) if saved else None

    @property
    def passed(self) -> bool:
        """Whether no gate regressed; an inconclusive one passes only if `inconclusive` allows it."""
        return bool(self.data["passed"])

    def __iter__(self) -> Iterator[Gate]:
        for scenario in self.data["scenarios"]:
            for gate in scenario["gates"]:
                reason = gate.get("reason")
                yield Gate(
                    scenario["name"],
                    gate["gate"],
                    verdict_of(gate["verdict"]),
                    gate,
                    Reason.of(reason) if reason else None,
                )

    @property
    def gates(self) -> pd.DataFrame:
        """A row for each gate, with how its metric changed. A list of dicts where pandas is not installed."""
        rows = []
        for gate in self:
            change = gate.data.get("change") or {}
            row: dict[str, Any] = {"scenario": gate.scenario, "gate": gate.gate}
            row["verdict"] = str(gate.verdict)
            for name in ("base", "candidate", "unit", "change", "low", "high"):
                row[name] = change.get(name)
            row["runs_needed"] = gate.data.get("runs_needed")
            row["reason"] = gate.reason.text if gate.reason else None
            rows.append(row)
        return _tables.frame(rows)

    @property
    def changes(self) -> pd.DataFrame:
        """A row for each metric and how it changed, gated or not. A list of dicts where pandas is not installed."""
        rows: list[dict[str, Any]] = []
        for scenario in self.data["scenarios"]:
            rows.extend({"scenario": scenario["name"], **change} for change in scenario["changes"])
        return _tables.frame(rows)

    def save(self, path: StrPath) -> Path:
        """Writes it in the format of the ending: `.html`, `.md`, `.json`, `.xml` (JUnit), `.txt`."""
        if Path(path).suffix == ".json":
            Path(path).write_text(json.dumps(self.data, indent=2))
            return Path(path)
        if self._again is None:
            raise FlowbenchError("the run wrote this comparison into its own folder already")
        self._again(["--output", os.fspath(path)])
        return Path(path)

    def raise_for_verdict(self) -> Comparison:
        """Raises `NotPassed` unless it passed."""
        if not self.passed:
            raise NotPassed(self.explain(), str(self.verdict))
        return self

    def explain(self) -> str:
        """The verdict, and each gate that did not hold."""
        lines = [f"{self.data['suite']}: {self.verdict or 'no gates'}"]
        lines.extend(f"  {gate}" for gate in self if not gate.passed)
        lines.extend(f"  note: {note}" for note in self.data.get("notes", []))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Comparison of {self.data['suite']!r}: {self.verdict or 'no gates'}>"

    def _repr_html_(self) -> str:
        rows = [
            [
                (gate.scenario, ""),
                (gate.gate, "words"),
                (str(gate.verdict), f"words {kind_of(gate.verdict)}"),
                (gate.reason.text if gate.reason else "", "words"),
            ]
            for gate in self
        ]
        verdict = self.verdict
        kind = kind_of(verdict) if verdict else "open"
        return (
            f'{_tables.STYLE}<div class="flowbench"><b class="{kind}">'
            f"{escape(str(self.data['suite']))}: {verdict or 'no gates'}</b>"
            f"{_tables.html_table(['scenario', 'gate', 'verdict', ''], rows)}</div>"
        )
