"""Compares results."""

from __future__ import annotations

import json
import os
from typing import Sequence

from flowbench._comparison import Comparison
from flowbench._errors import error_of
from flowbench._process import StrPath, output, words
from flowbench._results import Side, as_files


def compare(
    base: Side,
    candidate: Side,
    gates: Sequence[str] | str = (),
    *,
    inconclusive: str = "fail",
    noise: StrPath | None = None,
    force: bool = False,
    check: bool = False,
) -> Comparison:
    """Compares results and checks them against gates such as `p99 +10%`.

    A side is a `Result`, a `report.json`, a folder of results (as `flowbench noise` makes one), or a list of these.
    `inconclusive` is `fail`, `warn` or `pass`. With `check`, a comparison that did not pass is the exception `NotPassed`.
    Results that cannot be compared are the exception `FlowbenchError` with `exit_code` 4.
    """
    options = ["--inconclusive", inconclusive]
    for gate in words(gates):
        options += ["--gate", gate]
    if noise is not None:
        options += ["--noise", os.fspath(noise)]
    if force:
        options.append("--force")

    def again(further: Sequence[str]) -> bytes:
        return _compared(base, candidate, [*options, *further])

    comparison = Comparison(json.loads(again(["--format", "json"])), again)
    return comparison.raise_for_verdict() if check else comparison


def _compared(base: Side, candidate: Side, options: Sequence[str]) -> bytes:
    with as_files(base) as ours, as_files(candidate) as theirs:
        code, data, said = output(["compare", *ours, "--", *theirs, *options])
    # 1 and 4 are verdicts, unless there is nothing that has one.
    if code in (0, 1, 4) and data:
        return data
    raise error_of(code, said)
