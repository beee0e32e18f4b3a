"""Reads reports of flowbench with parsers that others wrote, and prints what they found as JSON."""

import json
import math
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from junitparser import JUnitXml
from prometheus_client.parser import text_string_to_metric_families


def junit(path):
    def case(case):
        results = [[type(result).__name__, result.message, result.text] for result in case.result]
        return {"name": case.name, "classname": case.classname, "time": case.time, "results": results}

    def suite(suite):
        counts = {name: getattr(suite, name) for name in ("tests", "failures", "errors", "skipped")}
        return {"name": suite.name, "time": suite.time, **counts, "cases": [case(c) for c in suite]}

    read = JUnitXml.fromfile(path)
    return {"tests": read.tests, "failures": read.failures, "suites": [suite(s) for s in read]}


def prometheus(path):
    with open(path, encoding="utf-8") as file:
        families = list(text_string_to_metric_families(file.read()))
    number = lambda value: None if math.isnan(value) else value
    samples = lambda family: [[s.name, s.labels, number(s.value)] for s in family.samples]
    return {family.name: {"type": family.type, "help": family.documentation, "samples": samples(family)} for family in families}


def hlog(path):
    found = {}
    empty = lambda: HdrHistogram(1, 3_600_000_000, 3)
    reader = HistogramLogReader(path, empty())
    while (interval := reader.get_next_interval_histogram()) is not None:
        found.setdefault(interval.get_tag(), empty()).add(interval)
    tell = lambda h: {"count": h.get_total_count(), "p50": h.get_value_at_percentile(50), "p99": h.get_value_at_percentile(99), "max": h.get_max_value()}
    return {tag: tell(histogram) for tag, histogram in found.items()}


json.dump({"junit": junit(sys.argv[1]), "prometheus": prometheus(sys.argv[2]), "hlog": hlog(sys.argv[3])}, sys.stdout)
