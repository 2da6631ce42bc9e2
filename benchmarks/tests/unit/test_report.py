import json

import pytest

from benchmarks.report import Goal, Report, Result


def test_a_result_is_the_median_between_the_lowest_and_the_highest() -> None:
    result = Result.of("issue", "requests/s", [30.0, 10.0, 20.0])

    assert (result.rate, result.spread) == (20.0, (10.0, 30.0))


def test_figures_keep_four_digits_however_large_or_small() -> None:
    assert Result.of("large", "requests/s", [24_598.7]).rate == 24_600
    assert Result.of("small", "s", [0.000123456]).rate == 0.0001235


@pytest.mark.parametrize(
    ("value", "at_least", "met"),
    [(25.0, True, True), (24.9, True, False), (25.0, False, False), (24.9, False, True)],
)
def test_a_goal_is_met_from_its_limit_on_or_only_below_it(value: float, at_least: bool, met: bool) -> None:
    assert Goal("rate", value, 25, at_least).met is met


def test_a_report_is_one_json_object() -> None:
    report = Report("issue", {"cores": 2})
    rate = report.add("codewell", "requests/s", [30_000.0, 20_000.0, 40_000.0])
    report.goals.append(Goal("requests/s of one issuer", rate.rate, 25_000))
    report.goals.append(Goal("MB of memory", 160.0, 150, at_least=False))

    assert json.loads(json.dumps(report.as_json())) == {
        "bench": "issue",
        "machine": {"cores": 2},
        "results": [{"name": "codewell", "rate": 30_000, "unit": "requests/s", "spread": [20_000, 40_000]}],
        "goals": [
            {"name": "requests/s of one issuer", "value": 30_000, "goal": ">= 25000", "met": True},
            {"name": "MB of memory", "value": 160, "goal": "< 150", "met": False},
        ],
    }


def test_a_report_is_read_back_as_it_was() -> None:
    report = Report("issue", {"cores": 2, "cpu": "some"})
    report.add("codewell", "requests/s", [30_000.0, 20_000.0, 40_000.0])
    report.goals.append(Goal("requests/s of one issuer", 30_000.0, 25_000))
    report.goals.append(Goal("share", 0.75, 0.7))
    report.goals.append(Goal("MB of memory", 160.0, 150, at_least=False))

    assert Report.from_json(json.loads(json.dumps(report.as_json()))) == report


def test_a_goal_that_is_met_by_far_is_shown_with_its_double() -> None:
    report = Report("http", {})
    report.add_goal_and_double("attachments a second", 2_000, 1_500)

    assert [(goal.name, goal.goal, goal.met) for goal in report.goals] == [
        ("attachments a second", ">= 1500", True),
        ("attachments a second, doubled", ">= 3000", False),
    ]
