"""What came of something, and why."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Mapping


class Verdict(str, enum.Enum):
    """What a run, a scenario, a threshold or a gate came to."""

    PASSED = "passed"
    FAILED = "failed"
    #: A gate: worse by more than it allows.
    REGRESSED = "regressed"
    #: It cannot be told; the reasons say why.
    INCONCLUSIVE = "inconclusive"
    INTERRUPTED = "interrupted"
    #: The target could not be reached or started.
    NOT_REACHED = "not_reached"
    #: One part of a load that was sent in parts: nothing is judged, because thresholds are about the whole.
    PART = "part"

    def __str__(self) -> str:
        return self.value


#: The words of saved results that are others here, see docs/report.md.
_SAVED = {"held": "passed", "not_judged": "inconclusive", "cant_tell": "inconclusive"}


def verdict_of(saved: str) -> Verdict:
    """The verdict by its word in a saved result."""
    return Verdict(_SAVED.get(saved, saved))


def kind_of(verdict: Verdict) -> str:
    """The class of a verdict in HTML."""
    kinds = {Verdict.PASSED: "passed", Verdict.FAILED: "failed", Verdict.REGRESSED: "failed"}
    return kinds.get(verdict, "open")


@dataclass(frozen=True)
class Reason:
    """Why figures must not be quoted, or why a verdict is inconclusive. `code` is stable, see docs/report.md."""

    code: str
    text: str
    found: float | None = None
    limit: float | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any] | str) -> Reason:
        """From a saved result."""
        if isinstance(data, str):
            return cls("other", data)
        return cls(data.get("code", "other"), data.get("text", ""), data.get("found"), data.get("limit"))

    def __str__(self) -> str:
        return f"{self.text} ({self.code})"
