"""Load tests of Jina Flows from Python: runs suites, reads results, compares them, serves a Flow.

    import flowbench

    result = flowbench.run("suite.yaml", set={"rate": "50/s"})
    print(result.scenarios)

The work is done by the program `flowbench`, which is part of this package. `docs/python.md` is the guide.
"""

from importlib import metadata as _metadata

from flowbench._binary import find_binary
from flowbench._comparing import compare
from flowbench._comparison import Comparison, Gate
from flowbench._distribution import Distribution
from flowbench._errors import (
    BinaryNotFound,
    FlowbenchError,
    NotPassed,
    NotWritten,
    Problem,
    SuiteError,
    Unreachable,
)
from flowbench._results import Result, Scenario, Threshold, load
from flowbench._running import Interrupted, Run, check, run, start
from flowbench._serving import Flow, serve
from flowbench._verdicts import Reason, Verdict

__all__ = [
    "BinaryNotFound",
    "Comparison",
    "Distribution",
    "Flow",
    "FlowbenchError",
    "Gate",
    "Interrupted",
    "NotPassed",
    "NotWritten",
    "Problem",
    "Reason",
    "Result",
    "Run",
    "Scenario",
    "SuiteError",
    "Threshold",
    "Unreachable",
    "Verdict",
    "check",
    "compare",
    "find_binary",
    "load",
    "run",
    "serve",
    "start",
]

try:
    __version__ = _metadata.version("jina-flowbench")
except _metadata.PackageNotFoundError:  # imported from a checkout
    __version__ = "0+unknown"
