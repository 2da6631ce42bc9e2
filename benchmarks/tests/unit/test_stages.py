from benchmarks.stages import stages


def test_every_step_of_plain_requests_is_measured() -> None:
    found = stages(1, 50)

    assert list(found) == ["parse", "decode", "order", "decide", "pack", "answer"]
    assert all(us > 0 for us in found.values())
