"""A shorter way that fails is tried less and less often, until it works again."""

from codewell.infra.process.trial import Trial


def usual_before_next(trial: Trial) -> int:
    """How many times take the usual way before the shorter way is due."""
    count = 0
    while not trial.is_due():
        count += 1
    return count


def test_after_failures_the_usual_way_is_taken_two_four_and_at_most_64_times() -> None:
    trial = Trial()
    assert usual_before_next(trial) == 0
    passed_over = []
    for _ in range(7):
        trial.note(worked=False)
        passed_over.append(usual_before_next(trial))
    assert passed_over == [2, 4, 8, 16, 32, 64, 64]


def test_once_it_has_worked_it_is_tried_each_time() -> None:
    trial = Trial()
    trial.note(worked=False)
    assert usual_before_next(trial) == 2
    trial.note(worked=True)
    assert usual_before_next(trial) == 0
    trial.note(worked=False)
    assert usual_before_next(trial) == 2
