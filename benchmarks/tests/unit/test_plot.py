from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from benchmarks.catalogue import Benchmark
from benchmarks.plot import plot, plotted
from benchmarks.report import Report

SVG = "{http://www.w3.org/2000/svg}"
ISSUE = Benchmark("issue", peers=("usual build",), ceilings=("no database",))


def report(*rates: float) -> Report:
    made = Report("issue", {})
    for name, rate in zip(("codewell", "usual build", "no database"), rates, strict=True):
        made.add(name, "requests/s", [rate * 0.9, rate, rate * 1.1])
    made.add("codewell / no database", "of the ceiling", [0.5])
    return made


def bars(svg: str) -> dict[str, float]:
    """The lengths of each role's bars; the legend's squares have rounded corners."""
    rects = ET.fromstring(svg).iter(f"{SVG}rect")
    return {one.attrib["class"]: float(one.attrib["width"]) for one in rects if "rx" not in one.attrib}


def title(svg: str) -> str | None:
    return ET.fromstring(svg).findtext(f"{SVG}title")


def test_bars_are_as_long_as_their_figures() -> None:
    svg = plot(ISSUE, report(200.0, 20.0, 400.0))
    lengths = bars(svg)

    assert title(svg) == "issue: requests/s"
    assert lengths["product"] == pytest.approx(lengths["ceiling"] / 2, abs=0.2)
    assert lengths["peer"] == pytest.approx(lengths["ceiling"] / 20, abs=0.2)


def test_figures_far_from_each_other_have_a_log_scale() -> None:
    svg = plot(ISSUE, report(2_000.0, 20.0, 200_000.0))
    peer, product, ceiling = (bars(svg)[role] for role in ("peer", "product", "ceiling"))

    assert title(svg) == "issue: requests/s, log scale"
    assert peer > 0
    # A factor of a hundred is the same step everywhere.
    assert product - peer == pytest.approx(ceiling - product, abs=0.2)


def test_a_figure_of_nothing_has_no_log_scale() -> None:
    svg = plot(ISSUE, report(2_000.0, 0.0, 200_000.0))

    assert title(svg) == "issue: requests/s"
    assert bars(svg)["peer"] == 0


def test_all_figures_of_nothing_have_bars_of_nothing() -> None:
    assert set(bars(plot(ISSUE, report(0.0, 0.0, 0.0))).values()) == {0.0}


@pytest.mark.parametrize("highest", [0.0123, 1.0, 7.0, 20.0, 99.9, 12_270_000.0])
def test_the_scale_has_some_round_steps(highest: float) -> None:
    texts = ET.fromstring(plot(ISSUE, report(highest, highest, highest))).iter(f"{SVG}text")
    ticks = [float(str(one.text).replace(",", "")) for one in texts if one.attrib.get("class") == "tick"]

    assert 3 <= len(ticks) <= 7
    assert all(low < high for low, high in pairwise(ticks))
    assert ticks[-1] <= highest * 1.1


def test_the_figures_in_the_first_unit_that_can_be_compared_are_plotted() -> None:
    made = Report("generate", {})
    made.add("generate 1 code", "ms", [1.0])
    made.add("generate", "codes/s", [2.0])
    made.add("COPY", "codes/s", [1.0])

    assert [one.name for one in plotted(made)] == ["generate", "COPY"]
    made.results = made.results[:2]
    assert [one.name for one in plotted(made)] == ["generate 1 code"]


def test_names_are_texts_and_not_markup() -> None:
    made = Report("issue", {})
    made.add("a < b & c", "requests/s", [1.0])

    assert "a < b & c" in [one.text for one in ET.fromstring(plot(ISSUE, made)).iter(f"{SVG}text")]
