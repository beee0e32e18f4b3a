"""Latencies: the figures of a distribution, and its histogram."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Mapping

from flowbench._tables import frame, told

if TYPE_CHECKING:
    import pandas as pd

_COMPRESSED, _PLAIN = 0x1C849314, 0x1C849313
#: Bytes that a histogram may have, far more than one over an hour in steps of a microsecond needs.
_BYTES_MAX = 16 << 20


@dataclass(frozen=True)
class Bucket:
    """Values that a histogram does not tell apart, in milliseconds."""

    low_ms: float
    high_ms: float
    count: int


class Distribution:
    """A distribution of latencies, in milliseconds, of successful requests.

    Percentiles come from a histogram with three significant digits; minimum, mean and maximum are exact. A figure that
    does not exist, because nothing was measured, is None.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data

    def _figure(self, name: str) -> float | None:
        value = self._data.get(name)
        return None if value is None else float(value)

    @property
    def count(self) -> int:
        """How many requests are in it."""
        return int(self._data.get("count") or 0)

    @property
    def beyond(self) -> int:
        """How many took longer than an hour, which the histogram does not have."""
        return int(self._data.get("beyond") or 0)

    @property
    def min(self) -> float | None:
        """The fastest."""
        return self._figure("min")

    @property
    def mean(self) -> float | None:
        """The mean."""
        return self._figure("mean")

    @property
    def stddev(self) -> float | None:
        """The standard deviation."""
        return self._figure("stddev")

    @property
    def p50(self) -> float | None:
        """The median."""
        return self._figure("p50")

    @property
    def p90(self) -> float | None:
        """The 90th percentile."""
        return self._figure("p90")

    @property
    def p95(self) -> float | None:
        """The 95th percentile."""
        return self._figure("p95")

    @property
    def p99(self) -> float | None:
        """The 99th percentile."""
        return self._figure("p99")

    @property
    def max(self) -> float | None:
        """The slowest."""
        return self._figure("max")

    @property
    def buckets(self) -> list[Bucket]:
        """The buckets of the histogram that are not empty, from fast to slow."""
        text = self._data.get("histogram")
        return decode(text) if text else []

    def percentile(self, percent: float) -> float | None:
        """The value that so many of a hundred requests did not exceed: `percentile(99.9)`."""
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile is from 0 to 100, found {percent}")
        name = f"p{percent:g}"
        if name in self._data:
            return self._figure(name)
        buckets = self.buckets
        total = sum(bucket.count for bucket in buckets)
        if total == 0:
            return None
        if percent in (0, 100):  # exact
            return self.max if percent else self.min
        # The request at this rank, counted from 1. What a product of floats is off by is no rank.
        rank = max(1, math.ceil(round(percent / 100 * (total + self.beyond), 6)))
        for bucket in buckets:
            rank -= bucket.count
            if rank <= 0:
                most = self.max
                return bucket.high_ms if most is None else min(bucket.high_ms, most)
        return None  # beyond an hour

    def to_pandas(self) -> pd.DataFrame:
        """The buckets as a DataFrame: `low_ms`, `high_ms`, `count`, and `share`, that of all up to here."""
        total = self.count or 1
        seen, rows = 0, []
        for bucket in self.buckets:
            seen += bucket.count
            rows.append({**asdict(bucket), "share": seen / total})
        return frame(rows)

    def plot(self, ax: Any = None, **style: Any) -> Any:
        """Draws latency over the percentile, spaced by nines, with matplotlib; returns the axes."""
        plt = pyplot()
        if ax is None:
            _, ax = plt.subplots()
        seen, shares, values = 0, [], []
        total = self.count or 1
        for bucket in self.buckets:
            seen += bucket.count
            # The slowest request has no percentile on this axis: 100 % is infinitely far away.
            shares.append(1 / max(1 - seen / total, 0.5 / total))
            values.append(bucket.high_ms)
        ax.plot(shares, values, drawstyle="steps-pre", **style)
        ax.set_xscale("log")
        ticks = [p for p in (50, 90, 99, 99.9, 99.99, 99.999) if 1 / (1 - p / 100) <= 2 * total]
        ax.set_xticks([1 / (1 - p / 100) for p in ticks], [f"p{p:g}" for p in ticks])
        ax.minorticks_off()
        ax.set_xlabel("percentile")
        ax.set_ylabel("response time, ms")
        return ax

    def __repr__(self) -> str:
        def shown(name: str) -> str:
            value = told(self._data, name)
            return "–" if value is None else f"{value:.3g} ms"

        return (
            f"<Distribution of {self.count:,}: p50 {shown('p50')}, p99 {shown('p99')}, "
            f"max {shown('max')}>"
        )


def pyplot() -> Any:
    """matplotlib, which draws."""
    try:
        import matplotlib.pyplot
    except ImportError:
        raise ImportError(
            "charts need matplotlib: pip install 'jina-flowbench[notebook]'"
        ) from None
    return matplotlib.pyplot


def decode(text: str) -> list[Bucket]:
    """The buckets of a compressed HdrHistogram V2 in base64, with values in microseconds."""
    raw = base64.b64decode(text, validate=True)
    cookie, length = struct.unpack_from(">ii", raw)
    if cookie != _COMPRESSED or length > len(raw) - 8:
        raise ValueError("it is not a compressed HdrHistogram V2")
    inflate = zlib.decompressobj()
    data = inflate.decompress(raw[8 : 8 + length], _BYTES_MAX)
    if inflate.unconsumed_tail:
        raise ValueError(f"the histogram has more than {_BYTES_MAX} bytes")
    cookie, length, offset, digits, lowest, _highest, _ratio = struct.unpack_from(">iiiiqqd", data)
    if cookie != _PLAIN or offset != 0 or not 0 <= digits <= 5 or lowest < 1:
        raise ValueError("it is not an HdrHistogram V2 that can be read")
    unit = lowest.bit_length() - 1
    half = (2 * 10**digits - 1).bit_length() - 1
    buckets, index = [], 0
    for count in _zigzag(data[40 : 40 + length]):
        if count < 0:
            index -= count  # so many empty ones
            continue
        if count:
            shift, sub = (index >> half) - 1, (index & ((1 << half) - 1)) + (1 << half)
            if shift < 0:
                shift, sub = 0, sub - (1 << half)
            low, size = sub << (shift + unit), 1 << (shift + unit)
            buckets.append(Bucket(low / 1000, (low + size - 1) / 1000, count))
        index += 1
    return buckets


def _zigzag(data: bytes) -> list[int]:
    """Whole numbers in ZigZag LEB128, whose ninth byte has eight bits of the number."""
    numbers, at = [], 0
    while at < len(data):
        value = 0
        for place in range(9):
            byte = data[at]
            at += 1
            if place == 8:
                value |= byte << 56
                break
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                break
        numbers.append((value >> 1) ^ -(value & 1))
    return numbers
