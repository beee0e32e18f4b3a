"""The pytest plugin: the fixture `flowbench`, whose verdicts are those of tests.

    def test_search_is_fast_enough(flowbench):
        flowbench.run("suite.yaml", set={"rate": "50/s"})
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

import pytest

if TYPE_CHECKING:
    from flowbench import Comparison, Flow, Result
    from flowbench._process import StrPath
    from flowbench._results import Side
    from flowbench._running import Suite

_POLICIES = ("fail", "skip", "pass")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds our options."""
    group = parser.getgroup("flowbench")
    group.addoption(
        "--flowbench-inconclusive",
        choices=_POLICIES,
        default=None,
        help="what becomes of a test whose threshold or gate is inconclusive: fail (the default), skip, or pass",
    )
    group.addoption(
        "--flowbench-out",
        metavar="FOLDER",
        default=None,
        help="keep the reports of runs in this folder, one folder for each test; by default, pytest's tmp_path",
    )
    parser.addini("flowbench_inconclusive", "the same as --flowbench-inconclusive", default="fail")


class Bench:
    """What a test gets: `flowbench.run`, `compare` and `serve`, as tests have them."""

    def __init__(self, folder: Path, inconclusive: str) -> None:
        self._folder = folder
        self._inconclusive = inconclusive
        self._flows: list[Flow] = []

    def run(
        self,
        suite: Suite,
        *,
        set: Mapping[str, Any] | None = None,
        only: Sequence[str] | str = (),
        baseline: Side = (),
        gates: Sequence[str] | str = (),
        env: Mapping[str, str] | None = None,
        out: StrPath | None = None,
        check: bool = True,
    ) -> Result:
        """Runs a suite. The test fails if a threshold was not met, unless `check` is False."""
        import flowbench

        if out is None:
            taken = len(list(self._folder.glob("run-*"))) if self._folder.exists() else 0
            out = self._folder / f"run-{taken + 1}"
        result = flowbench.run(
            suite, set=set, only=only, out=out, baseline=baseline, gates=gates, env=env
        )
        if check:
            self._judge(result.passed, result.verdict, result.explain())
            if result.comparison:
                compared = result.comparison
                self._judge(compared.passed, compared.verdict, compared.explain())
        return result

    def compare(
        self,
        base: Side,
        candidate: Side,
        gates: Sequence[str] | str = (),
        *,
        noise: StrPath | None = None,
        force: bool = False,
        check: bool = True,
    ) -> Comparison:
        """Compares results. The test fails if a gate regressed, unless `check` is False."""
        import flowbench

        compared = flowbench.compare(base, candidate, gates, noise=noise, force=force)
        if check:
            self._judge(compared.passed, compared.verdict, compared.explain())
        return compared

    def serve(self, config: StrPath | Mapping[str, Any] | None = None, **options: Any) -> Flow:
        """Starts the built-in Flow, which is stopped at the end of the test."""
        import flowbench

        flow = flowbench.serve(config, **options)
        self._flows.append(flow)
        return flow

    def _judge(self, passed: bool, verdict: Any, words: str) -> None:
        """Makes a verdict the test's."""
        __tracebackhide__ = True
        if passed:
            return
        if str(verdict) == "inconclusive" and self._inconclusive != "fail":
            if self._inconclusive == "skip":
                pytest.skip(words)
            return
        pytest.fail(words, pytrace=False)

    def stop(self) -> None:
        """Stops the Flows of the test."""
        while self._flows:
            self._flows.pop().stop()


@pytest.fixture
def flowbench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Load tests: `flowbench.run("suite.yaml")` fails the test if a threshold is not met."""
    config = request.config
    policy = config.getoption("--flowbench-inconclusive") or config.getini("flowbench_inconclusive")
    if policy not in _POLICIES:
        raise pytest.UsageError(
            f"flowbench_inconclusive: expected one of {', '.join(_POLICIES)}, found {policy!r}"
        )
    kept = config.getoption("--flowbench-out")
    test = re.sub(r"[^\w.-]+", "-", request.node.nodeid).strip("-")
    folder = Path(kept) / test if kept else tmp_path / "flowbench"
    bench = Bench(folder, policy)
    try:
        yield bench
    finally:
        bench.stop()
