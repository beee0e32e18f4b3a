"""What the tests share: suites that take a second, and results of them."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest

import flowbench as fb

pytest_plugins = ["pytester"]


def suite(service_time: str = "20ms", **load: Any) -> dict[str, Any]:
    """A suite that asks a Flow whose answers take so long."""
    return {
        "name": "fast" if service_time == "20ms" else "slow",
        "flows": {"local": {"embedded": {"executors": [{"name": "e", "service_time": service_time}]}}},
        "scenarios": [
            {
                "name": "search",
                "documents": {"text": {"words": 3}},
                "request_size": 1,
                "load": load or {"clients": 4, "requests": 120},
            }
        ],
    }


def valid(folder: Path, service_time: str) -> fb.Result:
    """A result that may be quoted. A busy machine needs more than one try."""
    for turn in range(10):
        result = fb.run(suite(service_time), out=folder / f"{service_time}-{turn}", progress=False)
        if result["search"].valid:
            return result
    raise AssertionError(f"no run of ten was valid: {result.explain()}")


@pytest.fixture(scope="session")
def fast(tmp_path_factory: pytest.TempPathFactory) -> fb.Result:
    """A result of a Flow that takes 20 ms."""
    return valid(tmp_path_factory.mktemp("fast"), "20ms")


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> fb.Result:
    """A result of a Flow that takes 200 ms."""
    return valid(tmp_path_factory.mktemp("slow"), "200ms")


@pytest.fixture(scope="session")
def plugin() -> list[str]:
    """How a pytest gets our plugin: by itself from the wheel, and from a checkout when asked to."""
    entries = importlib.metadata.entry_points()
    if hasattr(entries, "select"):
        ours = [e for e in entries.select(group="pytest11") if e.name == "flowbench"]
    else:
        ours = [e for e in entries.get("pytest11", []) if e.name == "flowbench"]
    return [] if ours else ["-p", "flowbench.pytest_plugin"]
