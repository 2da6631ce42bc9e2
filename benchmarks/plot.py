"""A plot of a benchmark's figures: horizontal bars in plain SVG that follows the browser's light or dark theme.

The colours are Okabe and Ito's, which most people with a colour vision deficiency can distinguish. The same report
gives the same bytes.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

from benchmarks.catalogue import Benchmark
from benchmarks.report import Report, Result, figure

# On a linear scale, figures with a larger ratio would hide the small ones.
LINEAR_TIMES_MAX: Final = 20
_WIDTH: Final = 860
_ROW: Final = 30
_BAR: Final = 16
_HEAD: Final = 66
_FOOT: Final = 34
# Average upper bounds of the width of a label's letter and a figure's digit (pixels, as all of these).
_LETTER: Final = 7.0
_DIGIT: Final = 8.0
_TICKS_MAX: Final = 6
_ROLES: Final = ("product", "peer", "ceiling")

_STYLE: Final = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 } .tick { font-size: 11px; fill: #59636e }
  .unit { font-weight: 600 } .page { fill: #ffffff } .grid { stroke: #d1d9e0 } .whisker { stroke: #1f2328 }
  .product { fill: #0072b2 } .peer { fill: #e69f00 } .ceiling { fill: #009e73 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .tick { fill: #9198a1 } .page { fill: #0d1117 } .grid { stroke: #3d444d }
    .whisker { stroke: #f0f6fc } .product { fill: #56b4e9 } .peer { fill: #e69f00 } .ceiling { fill: #1fb58a }
  }
"""


class _Scale(NamedTuple):
    """Maps figures to pixels."""

    lowest: float
    highest: float
    left: float
    right: float
    log: bool

    def x(self, value: float) -> float:
        """The position of a figure."""
        low, high, at = self.lowest, self.highest, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, low))
        return self.left + (self.right - self.left) * (at - low) / (high - low)

    def ticks(self) -> list[float]:
        """Tick values: powers of ten, or round steps from zero."""
        if self.log:
            first, last = round(math.log10(self.lowest)), math.floor(math.log10(self.highest))
            return [10.0**power for power in range(first, last + 1, 1 + (last - first) // _TICKS_MAX)]
        power = 10.0 ** math.floor(math.log10(self.highest / _TICKS_MAX))
        step = next(power * times for times in (1, 2, 5, 10) if self.highest / (power * times) <= _TICKS_MAX)
        return [step * number for number in range(math.floor(self.highest / step) + 1)]


def plot(benchmark: Benchmark, report: Report) -> str:
    """The figures in the first unit that has more than one, as a whole SVG file. The report has at least one."""
    results = plotted(report)
    left = 24 + _LETTER * max(len(one.name) for one in results)
    # The figures are printed to the right of their bars.
    right = _WIDTH - 16 - _DIGIT * max(len(figure(one.rate)) for one in results)
    height = _HEAD + _ROW * len(results) + _FOOT
    scale = _scale(results, left, right)
    unit = f"{results[0].unit}, log scale" if scale.log else results[0].unit
    size = f'width="{_WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {size} role="img">',
        f"<title>{escape(report.bench)}: {escape(unit)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="page" {size} rx="6"/>',
        f'<text class="unit" x="16" y="26">{escape(report.bench)}: {escape(unit)}</text>',
        *_legend({benchmark.role(one.name) for one in results}),
        *_grid(scale, height),
    ]
    for number, one in enumerate(results):
        lines += _bar(one, benchmark.role(one.name), scale, _HEAD + _ROW * number)
    return "\n".join([*lines, "</svg>"]) + "\n"


def plotted(report: Report) -> list[Result]:
    """The results in the first unit that has more than one, or else those in the first unit."""
    units = [one.unit for one in report.results]
    unit = next((one for one in units if units.count(one) > 1), units[0])
    return [one for one in report.results if one.unit == unit]


def _scale(results: Sequence[Result], left: float, right: float) -> _Scale:
    rates = [one.rate for one in results]
    lowest, highest = min(one.spread[0] for one in results), max(one.spread[1] for one in results)
    if lowest > 0 and max(rates) > LINEAR_TIMES_MAX * min(rates):
        # A bar of the lowest figure must be visible too.
        return _Scale(10.0 ** math.floor(math.log10(lowest / 2)), highest, left, right, log=True)
    return _Scale(0.0, highest or 1.0, left, right, log=False)


def _legend(roles: set[str]) -> Iterator[str]:
    x = _WIDTH - 16
    for role in reversed([one for one in _ROLES if one in roles]):
        x -= round(_LETTER * len(role))
        yield f'<text x="{x}" y="26">{role}</text>'
        x -= 18
        yield f'<rect class="{role}" x="{x}" y="15" width="12" height="12" rx="2"/>'
        x -= 16


def _grid(scale: _Scale, height: int) -> Iterator[str]:
    for tick in scale.ticks():
        x = scale.x(tick)
        yield f'<line class="grid" x1="{x:.1f}" y1="{_HEAD - 16}" x2="{x:.1f}" y2="{height - _FOOT + 4}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{height - 14}" text-anchor="middle">{figure(tick)}</text>'


def _bar(result: Result, role: str, scale: _Scale, top: int) -> Iterator[str]:
    middle = top + _BAR / 2
    low, at, high = (scale.x(value) for value in (result.spread[0], result.rate, result.spread[1]))
    yield f'<text x="{scale.left - 10:.1f}" y="{middle + 4.5}" text-anchor="end">{escape(result.name)}</text>'
    yield f'<rect class="{role}" x="{scale.left:.1f}" y="{top}" width="{at - scale.left:.1f}" height="{_BAR}"/>'
    yield (
        f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}'
        f'M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8" fill="none"/>'
    )
    yield f'<text x="{high + 8:.1f}" y="{middle + 4.5}">{figure(result.rate)}</text>'
